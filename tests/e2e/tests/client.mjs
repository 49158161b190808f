// The JavaScript client does create, list, watch, apply, an informer and delete.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// the client is installed beside the tests' other tools
const require = createRequire(`${process.env.SAMPAN_TEST_TOOLS}/node/`);
const k8s = await import(pathToFileURL(require.resolve('@kubernetes/client-node')));

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const namespace = 'default';
const labelSelector = 'app=javascript';
const path = `/api/v1/namespaces/${namespace}/configmaps`;

/** The events of a watch until `last` says so. */
async function events(options, last) {
  const seen = [];
  let stop;
  const ended = new Promise((resolve, reject) => {
    const each = (type, object) => {
      seen.push([type, object.metadata.name, object.data?.color]);
      if (last(type, object)) resolve();
    };
    stop = new k8s.Watch(config).watch(path, options, each, (error) => reject(error ?? new Error('the watch ended')));
  });
  await Promise.race([ended, stop.then(() => ended)]);
  (await stop).abort();
  return seen;
}

const body = { metadata: { name: 'javascript', labels: { app: 'javascript' } }, data: { color: 'red' } };
const made = await core.createNamespacedConfigMap({ namespace, body });
assert.equal(made.data.color, 'red');
await assert.rejects(core.createNamespacedConfigMap({ namespace, body }), (error) => error.code === 409);

const listed = await core.listNamespacedConfigMap({ namespace, labelSelector });
assert.deepEqual(listed.items.map((item) => item.metadata.name), ['javascript']);

// two who apply: a conflict, then by force
const wanted = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'javascript', namespace }, data: { color: 'blue' } };
const apply = (manager, force) => objects.patch(wanted, undefined, undefined, manager, force, k8s.PatchStrategy.ServerSideApply);
await assert.rejects(apply('alice', false), (error) => error.code === 409);
const applied = await apply('alice', true);
assert.equal(applied.data.color, 'blue');
assert.ok(applied.metadata.managedFields.some((entry) => entry.manager === 'alice' && entry.operation === 'Apply'));

const resourceVersion = made.metadata.resourceVersion;
const seen = await events({ labelSelector, resourceVersion }, (type) => type === 'MODIFIED');
assert.deepEqual(seen, [['MODIFIED', 'javascript', 'blue']]);

// an informer: list, watch, and what it keeps
const informer = k8s.makeInformer(config, path, () => core.listNamespacedConfigMap({ namespace, labelSelector }), labelSelector);
const told = (event) => new Promise((resolve, reject) => {
  informer.on(event, resolve);
  informer.on('error', reject);
});
const added = told('add');
await informer.start();
assert.equal((await added).metadata.name, 'javascript');
assert.equal(informer.get('javascript', namespace).data.color, 'blue');
const deleted = told('delete');
await core.deleteNamespacedConfigMap({ name: 'javascript', namespace });
assert.equal((await deleted).metadata.name, 'javascript');
await informer.stop();
await assert.rejects(core.readNamespacedConfigMap({ name: 'javascript', namespace }), (error) => error.code === 404);
console.log('ok');
process.exit(0);
