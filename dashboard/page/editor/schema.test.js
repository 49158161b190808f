// node --test, bundled by .ci/test.
import test from 'node:test';
import assert from 'node:assert/strict';
import { parser } from '@lezer/yaml';
import { begin, skeleton } from './template.js';
import { check, child, kindOf, ofKind, place, typeName, values, walk } from './schema.js';

const ref = (name) => ({ $ref: `#/components/schemas/${name}` });
const SCHEMAS = {
  Deployment: {
    type: 'object', 'x-kubernetes-group-version-kind': [{ group: 'apps', version: 'v1', kind: 'Deployment' }],
    properties: {
      apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: { allOf: [ref('Meta')], description: 'of the object' },
      spec: { allOf: [ref('Spec')] },
    },
  },
  Meta: { type: 'object', properties: { name: { type: 'string' }, labels: { type: 'object', additionalProperties: { type: 'string' } } } },
  Spec: {
    type: 'object', required: ['containers'],
    properties: {
      replicas: { type: 'integer' }, paused: { type: 'boolean' }, mode: { type: 'string', enum: ['Fast', 'Slow'] },
      port: { oneOf: [{ type: 'integer' }, { type: 'string' }], format: 'int-or-string' },
      containers: { type: 'array', items: ref('Container') }, free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
      policy: { type: 'string', description: 'Image pull policy. One of Always, Never, IfNotPresent. Defaults to Always.' },
      protocol: { type: 'string', description: 'The protocol. Supports "TCP", "UDP", and "SCTP". Default is TCP.' },
    },
  },
  Container: { type: 'object', properties: { name: { type: 'string' }, args: { type: 'array', items: { type: 'string' } }, env: { type: 'array', items: ref('Meta') } } },
};
const find = (group, version, kind) => { const schema = ofKind(SCHEMAS, group, version, kind); return schema && [SCHEMAS, schema]; };
const marks = (text) => check(parser.parse(text), (from, to) => text.slice(from, to), find)
  .map(({ from, to, what, name }) => `${text.slice(0, from).split('\n').length}:${what}:${name ?? ''}:${text.slice(from, to)}`);
const HEAD = 'apiVersion: apps/v1\nkind: Deployment\n';

test('a schema is walked through references, items and maps', () => {
  assert.equal(walk(SCHEMAS, SCHEMAS.Deployment, ['spec', 'containers', 0, 'env', 0, 'labels', 'any']).type, 'string');
  assert.equal(child(SCHEMAS, SCHEMAS.Deployment, 'metadata').description, 'of the object');
  assert.equal(walk(SCHEMAS, SCHEMAS.Deployment, ['nothing', 'there']), undefined);
  assert.equal(walk(SCHEMAS, SCHEMAS.Deployment, ['toString']), undefined);
  const named = ['replicas', 'port', 'containers', 'free'].map((name) => typeName(SCHEMAS, SCHEMAS.Spec.properties[name]));
  assert.deepEqual(named, ['integer', 'integer | string', '[]object', 'map']);
});

test('words are those of enum, or of the description', () => {
  const of = (name) => values(SCHEMAS.Spec.properties[name]);
  assert.deepEqual(of('mode'), ['Fast', 'Slow']);
  assert.deepEqual(of('policy'), ['Always', 'Never', 'IfNotPresent']);
  assert.deepEqual(of('protocol'), ['TCP', 'UDP', 'SCTP']);
  assert.deepEqual(of('paused'), ['true', 'false']);
  assert.deepEqual(of('replicas'), []);
});

test('the place is known while a name is typed', () => {
  // | is where the typed name begins
  for (const [text, path, names] of [
    ['kind: A\n|', [], ['kind']],
    ['spec:\n  |', ['spec'], []],
    ['spec:\n  a: 1\n  |\n  b: 2\nc: 3', ['spec'], ['a', 'b']],
    ['spec:\n  list:\n  - |', ['spec', 'list', 0], []],
    ['spec:\n  list:\n  - a: 1\n    |', ['spec', 'list', 0], ['a']],
    ['spec:\n  list:\n    - a: 1\n      b:\n        c: 2\n      |\n    - d: 1', ['spec', 'list', 0], ['a', 'b']],
    ['spec:\n  list:\n  - a: 1\n  - b:\n    - |', ['spec', 'list', 0, 'b', 0], []],
    ['spec:\n  list:\n  - a: 1\n\n  # note\n  |', ['spec'], ['list']],
    ['spec:\n  "a.b/c": \n    |', ['spec', 'a.b/c'], []],
    ['a:\n  b: |-\n    x:\n      y\n  |', ['a'], ['b']],
    ['kind: A\nspec:\n  x: 1\n---\nkind: B\n|', [], ['kind']],
  ]) {
    const lines = text.split('\n');
    const at = lines.findIndex((line) => /(?<!: )\|$/.test(line) || line === '|');
    const column = lines[at].length - 1;
    lines[at] = lines[at].slice(0, -1);
    const found = place(lines, at, column);
    assert.deepEqual([found.path, found.names.sort()], [path, names], text);
  }
  assert.deepEqual(kindOf([...HEAD.trim().split('\n'), '---', 'kind: B'], 1), ['apps', 'v1', 'Deployment']);
  assert.deepEqual(kindOf(['apiVersion: v1', 'kind: "Pod" # x'], 0), ['', 'v1', 'Pod']);
});

test('what is wrong is marked at its line', () => {
  for (const [text, wanted] of [
    ['metadata:\n  name: x\nspec:\n  replicas: 2\n  containers:\n  - name: a\n    args: [x, "1"]\n', []],
    ['spec:\n  containers: []\n  replicsa: 2\n', ['5:unknown:replicsa:replicsa']],
    ['spec:\n  containers: []\n  replicas: "2"\n', ['5:type:string:"2"']],
    ['spec:\n  containers: []\n  replicas: two\n', ['5:type:string:two']],
    ['spec:\n  containers:\n    name: a\n', ['4:type:object:containers']],
    ['spec:\n  containers:\n  - name: 1\n    args:\n    - 5\n    - x\n', ['5:type:integer:1', '7:type:integer:5']],
    ['metadata:\n  labels: {a: 1, b: x}\n', ['4:type:integer:1']],
    ['spec:\n  containers: []\n  mode: Quick\n', ['5:value:Quick:Quick']],
    ['spec:\n  containers: []\n  port: http\n  paused: yes\n  free: {any: [1]}\n  policy:\n', []],
    ['spec:\n  replicas: 1\n', ['3:missing:containers:spec']],
    ['spec:\n  containers: []\n  replicas: 1\n  replicas: 2\n', ['6:twice:replicas:replicas']],
    ['metadata:\n  name: |\n    lines\n  labels: &l {a: x}\n', []],
    ['---\nkind: Unknown\napiVersion: v1\nwhat: ever\n', []],
  ]) assert.deepEqual(marks(HEAD + text), wanted, text);
  assert.ok(marks('a: [1, 2\nb: }').some((one) => one.includes('syntax')));
});

test('what one begins with is YAML of the kind, and what a schema requires is in it', () => {
  const sound = (text) => {
    let wrong = false;
    parser.parse(text).iterate({ enter: (node) => { wrong ||= node.type.isError; } });
    assert.ok(!wrong, text);
    return text;
  };
  for (const known of ['v1 Pod', 'apps/v1 Deployment', 'batch/v1 CronJob', 'batch/v1 Job', 'v1 Namespace', 'networking.k8s.io/v1 Ingress', 'autoscaling/v2 HorizontalPodAutoscaler']) {
    const text = sound(begin(...known.split(' ')));
    assert.match(text, new RegExp(`^apiVersion: ${known.split(' ')[0]}\nkind: ${known.split(' ')[1]}\nmetadata:\n  name: example\n`));
  }
  assert.match(begin('apps/v1', 'Deployment'), /\n {4}spec:\n {6}containers:\n {6}- name: main\n/);
  assert.match(begin('batch/v1', 'CronJob'), /\n {2}jobTemplate:\n {4}spec:\n {6}template:\n/);
  assert.equal(begin('x.example/v1', 'Thing'), null);
  const thing = { type: 'object', required: ['spec', 'size'], properties: {
    apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: {}, status: {}, size: { type: 'integer' },
    spec: { type: 'object', required: ['mode'], properties: {
      mode: { type: 'string', enum: ['Fast', 'Slow'] }, count: { type: 'integer', default: 3 }, deep: { type: 'object', required: ['a'], properties: { a: { type: 'string' } } },
    } },
  } };
  assert.equal(sound(skeleton('x.example/v1', 'Thing', true, [{}, thing])), `apiVersion: x.example/v1
kind: Thing
metadata:
  name: example
size: 0
spec:
  mode: "Fast"
  # count: 3
  # deep:
  #   a: ""
`);
  assert.equal(skeleton('x.example/v1', 'Thing', true), 'apiVersion: x.example/v1\nkind: Thing\nmetadata:\n  name: example\n');
});
