//! Small primitives over native elements, styled by our own style sheets: no kit, nothing injected.

pub mod age;
pub mod chart;
pub mod columns;
pub mod dialog;
pub mod dock;
pub mod editor;
pub mod focus;
pub mod go;
pub mod icon;
pub mod keys;
pub mod leave;
pub mod nav;
pub mod palette;
pub mod shell;
pub mod status;
pub mod table;
pub mod toast;
pub mod topbar;
pub mod window;
