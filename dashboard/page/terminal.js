// A terminal in a container: xterm.js and the exec socket. Loaded when the first terminal is opened.
//
// xterm's DOM renderer writes <style> elements, which the page's policy forbids. It is given inert elements instead, whose
// text goes into constructed style sheets: those are CSSOM and allowed.
import { Terminal } from '@xterm/xterm';
import { FitAddon } from '@xterm/addon-fit';

const STDIN = 0, STDOUT = 1, STDERR = 2, STATUS = 3, RESIZE = 4;

function styleAsSheet(element) {
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  Object.defineProperty(element, 'textContent', { set: (text) => sheet.replaceSync(text), get: () => '' });
  const remove = element.remove.bind(element);
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((own) => own !== sheet);
    remove();
  };
  return element;
}

// Every <style> asked for while `work` runs is a sheet.
function withSheets(work) {
  const create = document.createElement;
  document.createElement = (name, options) => {
    return name === 'style' ? styleAsSheet(create.call(document, 'template')) : create.call(document, name, options);
  };
  try { return work(); } finally { delete document.createElement; }
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return { background: colour('--surface'), foreground: colour('--text'), cursor: colour('--accent'), selectionBackground: colour('--line-strong') };
}

// Gives the focus to the tab that the terminal stands in.
function leave(element) {
  const around = element.closest('.pane') ? document.querySelector('.bar-of-tabs') : element.closest('.detail');
  around?.querySelector('[aria-current]')?.focus();
}

// Opens `address` (a path below <base>) in `element`; `ended(text)` is told why it ended.
export function open(element, address, screenReader, ended) {
  const face = getComputedStyle(document.documentElement).getPropertyValue('--mono');
  const url = new URL(address, document.baseURI);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  // without a terminal at the other end nobody echoes, and lines end as in a file
  const raw = url.searchParams.get('tty') === 'true';
  // a shell that was there first has said its prompt to nobody
  const wake = url.searchParams.has('wake');
  url.searchParams.delete('wake');
  const terminal = new Terminal({ convertEol: !raw, fontFamily: face, fontSize: 13, cursorBlink: true, scrollback: 10000, minimumContrastRatio: 4.5, theme: colours(), screenReaderMode: screenReader });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  withSheets(() => terminal.open(element));
  // every other key is the shell's
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.key !== 'F6') return true;
    event.preventDefault();
    if (event.type === 'keydown') leave(element);
    return false;
  });
  const socket = new WebSocket(url, 'v5.channel.k8s.io');
  socket.binaryType = 'arraybuffer';
  const encoder = new TextEncoder();
  const send = (channel, text) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    const body = encoder.encode(text);
    const frame = new Uint8Array(body.length + 1);
    frame[0] = channel;
    frame.set(body, 1);
    socket.send(frame);
  };
  const resize = () => { fit.fit(); send(RESIZE, JSON.stringify({ Width: terminal.cols, Height: terminal.rows })); };
  socket.onopen = () => {
    resize();
    if (wake) send(STDIN, '\r');
    terminal.focus();
  };
  socket.onmessage = ({ data }) => {
    const frame = new Uint8Array(data);
    const body = frame.subarray(1);
    if (frame[0] === STDOUT || frame[0] === STDERR) terminal.write(body);
    if (frame[0] === STATUS) {
      const status = JSON.parse(new TextDecoder().decode(body));
      ended(status.status === 'Success' ? '' : status.message ?? '');
    }
  };
  socket.onclose = ({ reason }) => ended(reason);
  terminal.onData((text) => {
    if (raw) return send(STDIN, text);
    const lines = text.replaceAll('\r', '\n');
    terminal.write(lines);
    send(STDIN, lines);
  });
  const seen = new ResizeObserver(() => { if (element.clientWidth > 0) resize(); });
  seen.observe(element);
  return () => { seen.disconnect(); socket.onclose = null; socket.close(); terminal.dispose(); };
}
