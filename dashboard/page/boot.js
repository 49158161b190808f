// Starts the dashboard: an external module, because the page's policy allows no inline script.
// The names in braces are replaced by hashed ones when the page is packed.
import init from './{{app.js}}';

// Modules loaded when first needed, by the name the app asks for.
globalThis.sampanParts = {
  terminal: () => import('./{{terminal.js}}'),
  editor: () => import('./{{editor.js}}'),
};

// Before the first paint: the theme the user chose (nothing secret is ever stored).
const theme = localStorage.getItem('sampan.theme');
if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;

try {
  // what the tests weigh
  globalThis.sampanMemory = (await init({ module_or_path: new URL('./{{app.wasm}}', import.meta.url) })).memory;
} catch (error) {
  const told = document.createElement('pre');
  told.textContent = `The dashboard did not start. Reload the page.\n控制台未能启动，请重新加载页面。\n\n${error}`;
  document.body.append(told);
  throw error;
}
