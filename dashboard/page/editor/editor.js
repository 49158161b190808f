// The editor of YAML: CodeMirror, with completion and marks from the API server's own schemas. Loaded when first needed.
//
// It stands in a shadow root: there style-mod constructs its sheets instead of writing <style>, which the page's policy
// forbids. Colours are the page's custom properties, so they follow light and dark by themselves.
import { basicSetup } from 'codemirror';
import { EditorState } from '@codemirror/state';
import { EditorView, keymap, hoverTooltip } from '@codemirror/view';
import { indentWithTab } from '@codemirror/commands';
import { HighlightStyle, ensureSyntaxTree, syntaxHighlighting, syntaxTree } from '@codemirror/language';
import { linter, lintGutter } from '@codemirror/lint';
import { yaml } from '@codemirror/lang-yaml';
import { tags } from '@lezer/highlight';
import { begin, skeleton } from './template.js';
import { check, child, follow, kindOf, ofKind, place, split, typeName, types, values, walk } from './schema.js';

// -- schemas: a document of the API server for each version, asked for once when a text names it

const documents = new Map();

function documentOf(group, version) {
  const path = group ? `apis/${group}/${version}` : `api/${version}`;
  if (!documents.has(path)) {
    const read = async () => {
      const answer = await fetch(new URL(`k8s/openapi/v3/${path}`, document.baseURI), { headers: { Accept: 'application/json' } });
      return answer.ok ? (await answer.json()).components?.schemas ?? null : null;
    };
    // a refusal or a broken connection may be over when it is asked again
    const entry = { schemas: null, asked: read().catch(() => null) };
    documents.set(path, entry);
    entry.asked.then((schemas) => { entry.schemas = schemas; if (!schemas) documents.delete(path); });
  }
  return documents.get(path);
}

async function schemaOf([group, version, kind]) {
  const schemas = version && kind ? await documentOf(group, version).asked : null;
  const schema = schemas && ofKind(schemas, group, version, kind);
  return schema ? [schemas, schema] : null;
}

// -- completion

// The lines around are enough, and all that is read: a text may have a hundred thousand.
const NEAR = 5000;

function around(state, position) {
  const own = state.doc.lineAt(position);
  const from = Math.max(1, own.number - NEAR), to = Math.min(state.doc.lines, own.number + NEAR);
  const lines = state.sliceDoc(state.doc.line(from).from, state.doc.line(to).to).split('\n');
  return { own, lines, at: own.number - from };
}

// A text of several lines, a comment, a quoted text: nothing there is a field.
const inText = (state, position) => /BlockLiteral|Comment|Quoted/.test(syntaxTree(state).resolveInner(position, -1).name);

const before = (text) => /^( *(?:- +)*)([\w./-]*)$/.exec(text);
const beforeValue = (text) => /^( *(?:- +)*)["']?([\w./-]+)["']?:\s+(\S*)$/.exec(text);
const beforeItem = (text) => /^( *(?:- +)*- +)(\S*)$/.exec(text);

function fieldOption(schemas, name, field, required, indent) {
  const [type] = types(follow(schemas, field));
  const deep = '\n' + ' '.repeat(indent);
  const behind = type === 'array' ? `:${deep}- ` : type === 'object' ? `:${deep}  ` : ': ';
  return { label: name, type: 'property', detail: typeName(schemas, field), info: follow(schemas, field)?.description, apply: name + behind, boost: required ? 1 : 0 };
}

const plain = (all, type) => all.map((label) => ({ label, type }));

function complete(options) {
  return async (context) => {
    const { state, pos } = context;
    if (inText(state, pos)) return null;
    const { own, lines, at } = around(state, pos);
    const text = own.text.slice(0, pos - own.from);
    const value = beforeValue(text);
    const result = (typed, found) => ({ from: pos - typed.length, options: found, validFor: /^[\w./-]*$/ });
    const kind = kindOf(lines, at);
    if (value) {
      const [, lead, name, typed] = value;
      if (lead === '' && name === 'apiVersion') return result(typed, plain([...new Set(options.kinds.filter(([, own]) => !kind[2] || own === kind[2]).map(([version]) => version))], 'namespace'));
      if (lead === '' && name === 'kind') {
        const same = ([version]) => !kind[1] || (split(version)[0] === kind[0] && split(version)[1] === kind[1]);
        return result(typed, plain([...new Set(options.kinds.filter(same).map(([, own]) => own))], 'class'));
      }
      const found = await schemaOf(kind);
      const field = found && child(found[0], walk(...found, place(lines, at, lead.length).path), name);
      const words = field ? values(field) : [];
      return words.length ? result(typed, plain(words, 'enum')) : null;
    }
    const name = before(text);
    if (!name || (name[2] === '' && !context.explicit && name[1].length !== text.length)) return null;
    const [, lead, typed] = name;
    const found = await schemaOf(kind);
    const here = place(lines, at, lead.length);
    if (!found) {
      const top = ['apiVersion', 'kind', 'metadata'].filter((own) => !here.names.includes(own));
      return lead === '' && here.path.length === 0 ? result(typed, top.map((label) => ({ label, type: 'property', apply: label === 'metadata' ? 'metadata:\n  name: ' : `${label}: ` }))) : null;
    }
    const schema = walk(...found, here.path);
    // an item that is a word
    if (beforeItem(text) && schema && !types(schema).includes('object')) return values(schema).length ? result(typed, plain(values(schema), 'enum')) : null;
    if (!schema?.properties) return null;
    const fields = Object.entries(schema.properties).filter(([own]) => !here.names.includes(own) || own === typed);
    return result(typed, fields.map(([own, field]) => fieldOption(found[0], own, field, schema.required?.includes(own), lead.length)));
  };
}

// What a field is, where the pointer rests.
const explain = hoverTooltip(async (view, pos) => {
  const { own, lines, at } = around(view.state, pos);
  const field = /^( *(?:- +)*)["']?([\w./-]+)["']?:/.exec(own.text);
  if (!field || pos - own.from > field[0].length || inText(view.state, pos)) return null;
  const found = await schemaOf(kindOf(lines, at));
  const schema = found && child(found[0], walk(...found, place(lines, at, field[1].length).path), field[2]);
  if (!schema) return null;
  return {
    pos: own.from + field[1].length, above: true,
    create: () => {
      const dom = document.createElement('div');
      dom.className = 'explain';
      const type = document.createElement('b');
      type.textContent = `${field[2]}: ${typeName(found[0], schema)}`;
      dom.append(type, document.createElement('br'), schema.description ?? '');
      return { dom };
    },
  };
});

// -- marks

// A larger text is not held against its schema: that is for what people write.
const CHECKED = 300_000;

function marks(words) {
  return async ({ state }) => {
    if (state.doc.length > CHECKED) return [];
    const tree = ensureSyntaxTree(state, state.doc.length, 200);
    if (!tree) return [];
    const slice = (from, to) => state.sliceDoc(from, to);
    // once to see which kinds there are, once with their schemas
    const asked = [];
    check(tree, slice, (...kind) => { asked.push(kind); });
    const known = new Map(await Promise.all(asked.map(async (kind) => [kind.join(' '), await schemaOf(kind)])));
    return check(tree, slice, (...kind) => known.get(kind.join(' '))).map(({ from, to, what, name, wanted }) => ({
      from, to, severity: what === 'missing' ? 'warning' : 'error',
      message: words[what].replace('{name}', () => name).replace('{wanted}', () => wanted),
    }));
  };
}

// -- how it looks

const theme = EditorView.theme({
  '&': { height: '100%', color: 'var(--text)', backgroundColor: 'var(--surface)', fontSize: '12px' },
  '&.cm-focused': { outline: '2px solid var(--focus)', outlineOffset: '1px' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.5' },
  '.cm-content': { caretColor: 'var(--accent)' },
  '.cm-cursor, .cm-dropCursor': { borderLeftColor: 'var(--accent)' },
  '.cm-gutters': { backgroundColor: 'var(--ground)', color: 'var(--soft)', borderRight: '1px solid var(--line)' },
  '.cm-activeLine, .cm-activeLineGutter': { backgroundColor: 'transparent' },
  '.cm-activeLineGutter': { color: 'var(--text)', fontWeight: '650' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': { backgroundColor: 'var(--line-strong)' },
  '.cm-selectionMatch, .cm-searchMatch, &.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--accent-soft)' },
  '.cm-searchMatch-selected': { outline: '1px solid var(--accent)' },
  '.cm-foldPlaceholder': { backgroundColor: 'var(--hover)', borderColor: 'var(--line-strong)', color: 'var(--soft)' },
  '.cm-tooltip, .cm-panels': { backgroundColor: 'var(--raised)', color: 'var(--text)', border: '1px solid var(--line)' },
  '.cm-tooltip': { boxShadow: 'var(--shadow)', borderRadius: '6px' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--mono)', maxHeight: '240px' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]': { backgroundColor: 'var(--chosen)', color: 'var(--text)' },
  '.cm-completionDetail': { color: 'var(--soft)', fontStyle: 'normal' },
  '.cm-completionInfo, .explain': { maxWidth: '420px', maxHeight: '220px', overflow: 'auto', whiteSpace: 'pre-wrap', padding: '6px 9px', fontFamily: 'var(--face)' },
  '.cm-diagnostic-error': { borderLeftColor: 'var(--failed)' },
  '.cm-diagnostic-warning': { borderLeftColor: 'var(--warning)' },
  '.cm-textfield': { backgroundColor: 'var(--surface)', border: '1px solid var(--line-strong)', color: 'var(--text)' },
  '.cm-button': { background: 'var(--surface)', border: '1px solid var(--line-strong)', color: 'var(--text)' },
  '.cm-panel.cm-search [name=close]': { color: 'var(--text)' },
});

const colours = HighlightStyle.define([
  { tag: [tags.definition(tags.propertyName), tags.propertyName], color: 'var(--accent)' },
  { tag: [tags.comment, tags.lineComment], color: 'var(--soft)' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--healthy)' },
  { tag: [tags.keyword, tags.meta, tags.typeName, tags.labelName], color: 'var(--progressing)' },
]);

// Typing over several lines: Chromium would join them itself and keep their looks by style attributes, which the policy forbids.
const typeOver = EditorView.domEventHandlers({
  beforeinput(event, view) {
    const { main } = view.state.selection;
    const lines = view.state.doc.lineAt(main.from).number !== view.state.doc.lineAt(main.to).number;
    if (event.inputType !== 'insertText' || event.isComposing || !lines) return false;
    view.dispatch(view.state.replaceSelection(event.data ?? ''), { userEvent: 'input.type', scrollIntoView: true });
    event.preventDefault();
    return true;
  },
});

// Opens an editor in `element`. `options`: text, label, readOnly, kinds ([apiVersion, kind] of what the cluster serves),
// words (what marks say, and `phrases` of CodeMirror's own), changed(text). Gives {text, replace, focus, close}.
export function open(element, options) {
  // what one begins with is nobody's text yet
  let begun = false;
  const root = element.shadowRoot ?? element.attachShadow({ mode: 'open' });
  // the same each time it is asked for: a source is known by itself
  const sources = [{ autocomplete: complete(options) }];
  const editing = options.readOnly
    ? [EditorState.readOnly.of(true)]
    : [
      linter(marks(options.words), { delay: 300 }), lintGutter(), typeOver, keymap.of([indentWithTab]),
      EditorState.languageData.of(() => sources),
      EditorView.updateListener.of((update) => { if (update.docChanged && !begun) options.changed(); }),
    ];
  const view = new EditorView({
    root, parent: root,
    state: EditorState.create({
      doc: options.text,
      extensions: [
        ...editing, basicSetup, yaml(), explain, theme, syntaxHighlighting(colours), EditorState.phrases.of(options.words.phrases),
        EditorView.contentAttributes.of({ tabindex: '0', 'aria-label': options.label, ...(options.readOnly ? { 'aria-readonly': 'true' } : {}) }),
      ],
    }),
  });
  // what is typed here is not the page's: its keys see the shadow's host only
  const own = (event) => event.stopPropagation();
  element.addEventListener('keydown', own);
  if (!options.readOnly) view.focus();
  if (options.template) {
    const [version, kind, namespaced] = options.template;
    const put = (text) => {
      if (view.state.doc.length > 0 || !text) return;
      begun = true;
      view.dispatch({ changes: { from: 0, insert: text } });
      begun = false;
    };
    const known = begin(version, kind);
    if (known) put(known);
    else schemaOf([...split(version), kind]).then((found) => put(skeleton(version, kind, namespaced, found)), () => put(skeleton(version, kind, namespaced)));
  }
  return {
    text: () => view.state.doc.toString(),
    replace: (text) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } }),
    focus: () => view.focus(),
    close: () => { element.removeEventListener('keydown', own); view.destroy(); },
  };
}
