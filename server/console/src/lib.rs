//! The dashboard's server, on loopback: pages, sign-in, the feed, and the APIs as the signed-in user.
//!
//! ```text
//!            ┌ guard: Host, Origin, headers of every answer
//! browser ───┤
//!            ├ /                       files     the Leptos page, embedded
//!            ├ /signin?ticket=…        session   a one-time ticket becomes a sealed cookie
//!            ├ /sampan/v1/session      session   who is signed in; sign in with a token; sign out
//!            ├ /sampan/v1/feed         feed      lists and objects, pushed as they change
//!            ├ /sampan/v1/exec         exec      a terminal in a container
//!            ├ /sampan/v1/open         workload  a web page of a pod or Service, on an origin of its own
//!            ├ /sampan/v1/…            forward   the REST API for tools
//!            └ /k8s/…                  forward   the Kubernetes API
//! ```
//!
//! It has no rights of its own but to ask who a token belongs to: whatever is shown or done is asked of the API server
//! as the signed-in user, over loopback ([`Api`]), so what RBAC hides stays hidden. Nothing here costs anything while
//! no page is open.

mod api;
mod exec;
mod feed;
mod files;
mod forward;
mod guard;
mod identity;
mod places;
mod reply;
mod server;
mod session;
mod upgraded;
mod workload;

pub use api::{Answer, Api, BoxError, Takeover, User};
pub use guard::{BadUrl, PublicUrl, name};
pub use server::{Config, Console, Error, Socket};
pub use session::Tickets;
