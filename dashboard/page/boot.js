// Starts the dashboard: an external module, because the page's policy allows no inline script.
// The names in braces are replaced by hashed ones when the page is packed.
import init from './{{app.js}}';

// Modules loaded when first needed, by the name the app asks for.
globalThis.sampanParts = {
  terminal: () => import('./{{terminal.js}}'),
  editor: () => import('./{{editor.js}}'),
};

// The texts of one language, in the order of their numbers; the other's are fetched when somebody chooses it.
const texts = { en: './{{text.en.json}}', 'zh-CN': './{{text.zh-CN.json}}' };
globalThis.sampanSpeak = async (tag) => (await fetch(new URL(texts[tag], import.meta.url))).json();

// What the user chose (nothing secret is ever stored); a browser that refuses to remember is none the worse.
const kept = (name) => { try { return localStorage.getItem(`sampan.${name}`); } catch { return null; } };

// Before the first paint: theme and language.
const root = document.documentElement;
const theme = kept('theme');
if (theme === 'light' || theme === 'dark') root.dataset.theme = theme;
root.lang = (kept('language') ?? navigator.language).startsWith('zh') ? 'zh-CN' : 'en';

try {
  const app = WebAssembly.compileStreaming(fetch(new URL('./{{app.wasm}}', import.meta.url)));
  const [spoken, module_or_path] = await Promise.all([globalThis.sampanSpeak(root.lang), app]);
  globalThis.sampanTexts = spoken;
  // what the tests weigh
  globalThis.sampanMemory = (await init({ module_or_path })).memory;
} catch (error) {
  const told = document.createElement('pre');
  told.textContent = `The dashboard did not start. Reload the page.\n控制台未能启动，请重新加载页面。\n\n${error}`;
  document.body.append(told);
  throw error;
}
