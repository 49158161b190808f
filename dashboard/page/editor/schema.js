// What a kind's schema says of a place in a YAML text: pure, tested with node by schema.test.js. Schemas are those of the API
// server's OpenAPI v3 documents; `schemas` below is such a document's `components.schemas`.

const REF = '#/components/schemas/';

// A schema without the indirections that OpenAPI v3 writes: `$ref`, and `allOf` of one to give it another description.
export function follow(schemas, schema) {
  for (let depth = 0; schema && depth < 20; depth += 1) {
    if (schema.$ref) schema = schemas[schema.$ref.slice(REF.length)];
    else if (schema.allOf?.length === 1) schema = { ...follow(schemas, schema.allOf[0]), ...schema, allOf: undefined };
    else return schema;
  }
  return schema;
}

// The schema of a kind among a document's.
export function ofKind(schemas, group, version, kind) {
  const same = (own) => own.group === group && own.version === version && own.kind === kind;
  return Object.values(schemas).find((schema) => schema['x-kubernetes-group-version-kind']?.some(same));
}

// The schema one step deeper: a field's name, or a number for an item. None if nothing is said of it.
export function child(schemas, schema, step) {
  schema = follow(schemas, schema);
  if (typeof step === 'number') return follow(schemas, schema?.items);
  const field = schema?.properties && Object.hasOwn(schema.properties, step) ? schema.properties[step] : undefined;
  const rest = schema?.additionalProperties;
  return follow(schemas, field ?? (typeof rest === 'object' ? rest : undefined));
}

export const walk = (schemas, schema, path) => path.reduce((at, step) => at && child(schemas, at, step), follow(schemas, schema));

// Fields that are not named may not stand there.
export const closed = (schema) => Boolean(schema?.properties) && !schema.additionalProperties
  && !schema['x-kubernetes-preserve-unknown-fields'] && !schema['x-kubernetes-embedded-resource'];

// The types a value may have; empty for any.
export function types(schema) {
  if (schema?.['x-kubernetes-int-or-string'] || schema?.format === 'int-or-string') return ['integer', 'string'];
  if (schema?.type) return [schema.type];
  const several = schema?.oneOf ?? schema?.anyOf ?? [];
  return several.every((one) => one.type) ? several.map((one) => one.type) : [];
}

// What a reader calls the type: `integer`, `[]string`, `map`.
export function typeName(schemas, schema) {
  schema = follow(schemas, schema);
  const all = types(schema);
  if (all[0] === 'array') return `[]${typeName(schemas, schema.items)}`;
  if (all[0] === 'object' && !schema.properties) return 'map';
  return all.join(' | ');
}

// Words that a text may be. The built-in kinds' schemas have no `enum`: their descriptions list the words.
export function values(schema) {
  if (schema?.enum) return schema.enum.map(String);
  if (types(schema).includes('boolean')) return ['true', 'false'];
  if (schema?.type !== 'string') return [];
  const list = /(?:one of|valid (?:options|values|policies) are|valid values:|supports|must be|can be|possible enum values:?|allowed values:?)\s*:?\s*([^.]{3,200})/i.exec(schema.description ?? '');
  if (!list) return [];
  const words = list[1].split(/,|\bor\b|\band\b|\n\s*-/).map((word) => word.replace(/["'`]/g, '').trim().split(/\s/)[0]);
  const fit = words.filter((word) => /^[A-Z][A-Za-z]+$/.test(word));
  return fit.length > 1 ? [...new Set(fit)] : [];
}

// -- where in the text: by indentation, for what is being typed is not YAML yet

const LINE = /^( *)((?:- +)*(?:-$)?)(?:("[^"]*"|'[^']*'|[^\s#"'[{][^:#]*?)\s*:(?=\s|$))?/;

function read(line) {
  const [, indent, dashes, key] = LINE.exec(line);
  const items = [];
  for (let at = 0; at < dashes.length; at += 1) if (dashes[at] === '-') items.push(indent.length + at);
  return { items, key: key?.replace(/^["']|["']$/g, ''), column: indent.length + dashes.length, blank: /^\s*(#|$)/.test(line) };
}

// The lines of the document that line `at` is in.
export function documentAround(lines, at) {
  const mark = (line) => /^---(\s|$)/.test(line);
  let from = at, to = at;
  while (from > 0 && !mark(lines[from - 1])) from -= 1;
  while (to + 1 < lines.length && !mark(lines[to + 1])) to += 1;
  return [from, to];
}

// The path to the object that holds column `column` of line `at`, and the names that stand there already.
export function place(lines, at, column) {
  const [from, to] = documentAround(lines, at);
  const path = [];
  let limit = column, item = false;
  const enter = (items) => items.filter((own) => own < limit).reverse().forEach((own) => { path.unshift(0); limit = own; item = true; });
  enter(read(lines[at]).items);
  for (let line = at - 1; line >= from && (limit > 0 || item); line -= 1) {
    const { items, key, column: own, blank } = read(lines[line]);
    if (blank) continue;
    if (key !== undefined && (item ? own <= limit : own < limit)) {
      path.unshift(key);
      limit = own; item = false;
      enter(items);
    } else if (!item && own === limit) enter(items);
  }
  return { path, names: names(lines, at, column, from, to) };
}

function names(lines, at, column, from, to) {
  const found = [];
  // true when the line is outside of the object
  const look = (line) => {
    const { items, key, column: own, blank } = read(lines[line]);
    if (blank) return false;
    if (own === column && key !== undefined) found.push(key);
    return own < column || items.some((mark) => mark < column);
  };
  const first = read(lines[at]).items.length > 0;
  for (let line = at - 1; !first && line >= from; line -= 1) if (look(line)) break;
  for (let line = at + 1; line <= to; line += 1) {
    // the next item is another object
    if (read(lines[line]).items.some((mark) => mark < column) || look(line)) break;
  }
  return found;
}

// What a document says it is: [group, version, kind].
export function kindOf(lines, at) {
  const [from, to] = documentAround(lines, at);
  const top = (name) => {
    for (let line = from; line <= to; line += 1) {
      const found = new RegExp(`^${name}:\\s*["']?([^"'#\\s]+)`).exec(lines[line]);
      if (found) return found[1];
    }
    return '';
  };
  const [group, version] = split(top('apiVersion'));
  return [group, version, top('kind')];
}

export function split(apiVersion) {
  const slash = apiVersion.indexOf('/');
  return slash < 0 ? ['', apiVersion] : [apiVersion.slice(0, slash), apiVersion.slice(slash + 1)];
}

// -- what is wrong, by the tree that @lezer/yaml read

const WRAPPED = ['Tagged', 'Anchored'];
const VALUES = ['BlockMapping', 'FlowMapping', 'BlockSequence', 'FlowSequence', 'Literal', 'QuotedLiteral', 'BlockLiteral', 'Alias', ...WRAPPED];

function valueIn(node) {
  for (let one = node.firstChild; one; one = one.nextSibling) {
    if (WRAPPED.includes(one.name)) return valueIn(one);
    if (VALUES.includes(one.name)) return one;
  }
  return null;
}

const unquote = (text) => text.replace(/^["']|["']$/g, '');
const all = (node, name) => node.getChildren(name);

// What a scalar is read as; two where readers differ.
function scalar(node, text) {
  if (node.name !== 'Literal') return ['string'];
  if (/^(~|null|Null|NULL)?$/.test(text)) return ['null'];
  if (/^(true|True|TRUE|false|False|FALSE)$/.test(text)) return ['boolean'];
  if (/^(y|n|yes|no|on|off)$/i.test(text)) return ['boolean', 'string'];
  if (/^[-+]?(\d+|0x[\da-f]+|0o?[0-7]+)$/i.test(text)) return ['integer', 'number'];
  if (/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text)) return ['number'];
  return ['string'];
}

const SHAPES = { BlockMapping: ['object'], FlowMapping: ['object'], BlockSequence: ['array'], FlowSequence: ['array'] };

// Marks of one value: {from, to, what, name, wanted}. `what` is unknown, type, value, missing or twice.
function checkValue(schemas, schema, node, at, slice, marks) {
  schema = follow(schemas, schema);
  if (!schema || node.name === 'Alias') return;
  const text = slice(node.from, node.to);
  const is = SHAPES[node.name] ?? scalar(node, text);
  const wanted = types(schema);
  if (is[0] === 'null') return;
  if (wanted.length && !is.some((one) => wanted.includes(one))) {
    marks.push({ ...at, what: 'type', name: is[0], wanted: wanted.join(' | ') });
  } else if (schema.enum && !SHAPES[node.name] && !schema.enum.map(String).includes(unquote(text))) {
    marks.push({ ...at, what: 'value', name: unquote(text), wanted: schema.enum.join(', ') });
  } else if (is[0] === 'object') checkFields(schemas, schema, node, at, slice, marks);
  else if (is[0] === 'array') {
    for (const item of all(node, 'Item')) {
      const value = valueIn(item);
      if (value) checkValue(schemas, schema.items, value, { from: value.from, to: lineEnd(value, slice) }, slice, marks);
    }
  }
}

// A value of many lines is marked at its first.
function lineEnd(node, slice) {
  const end = slice(node.from, Math.min(node.to, node.from + 200)).indexOf('\n');
  return end < 0 ? Math.min(node.to, node.from + 200) : node.from + end;
}

function checkFields(schemas, schema, node, at, slice, marks) {
  const seen = new Set();
  for (const pair of all(node, 'Pair')) {
    const key = pair.getChild('Key');
    if (!key) continue;
    const name = unquote(slice(key.from, key.to));
    const here = { from: key.from, to: key.to };
    if (seen.has(name)) marks.push({ ...here, what: 'twice', name });
    seen.add(name);
    const field = child(schemas, schema, name);
    if (!field && closed(schema)) marks.push({ ...here, what: 'unknown', name });
    const value = valueIn(pair);
    if (field && value) checkValue(schemas, field, value, SHAPES[value.name] ? here : { from: value.from, to: value.to }, slice, marks);
  }
  for (const name of schema.required ?? []) if (!seen.has(name)) marks.push({ ...at, what: 'missing', name });
}

// Everything wrong in a text. `find(group, version, kind)` gives [schemas, schema], or nothing where they are not known.
export function check(tree, slice, find) {
  const marks = [];
  tree.cursor().iterate((node) => {
    if (node.type.isError) marks.push({ from: node.from, to: Math.max(node.to, node.from), what: 'syntax' });
  });
  for (const one of tree.topNode.getChildren('Document')) {
    const top = valueIn(one);
    if (!top || !SHAPES[top.name] || SHAPES[top.name][0] !== 'object') continue;
    const word = (name) => {
      const pair = all(top, 'Pair').find((own) => own.getChild('Key') && unquote(slice(own.getChild('Key').from, own.getChild('Key').to)) === name);
      const value = pair && valueIn(pair);
      return value ? unquote(slice(value.from, value.to)) : '';
    };
    const found = find(...split(word('apiVersion')), word('kind'));
    if (found) checkValue(found[0], found[1], top, { from: top.from, to: lineEnd(top, slice) }, slice, marks);
  }
  return marks;
}
