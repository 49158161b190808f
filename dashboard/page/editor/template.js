// What somebody begins with who creates an object of a kind: of the usual kinds a whole that works, of any other what its
// schema requires. Pure, tested with node by schema.test.js.
import { follow, types } from './schema.js';

const pod = (indent) => `spec:
  containers:
  - name: main
    image: nginx:alpine
`.replace(/^/gm, ' '.repeat(indent)).trimEnd();

const workload = (more, behind = '') => `spec:
${more}  selector:
    matchLabels:
      app: example
  template:
    metadata:
      labels:
        app: example
${pod(4)}
${behind}`;

const job = (indent) => `spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: main
        image: busybox
        command: [sh, -c, date]
`.replace(/^(?=.)/gm, ' '.repeat(indent));

// By kind, of the groups that Kubernetes itself has: all that stands below `metadata`.
const KNOWN = {
  'v1 Pod': `${pod(0)}\n`,
  'apps/v1 Deployment': workload('  replicas: 1\n'),
  'apps/v1 StatefulSet': workload('  replicas: 1\n  serviceName: example\n'),
  'apps/v1 DaemonSet': workload(''),
  'batch/v1 Job': job(0),
  'batch/v1 CronJob': `spec:\n  schedule: "*/5 * * * *"\n  jobTemplate:\n${job(4)}`,
  'v1 Service': 'spec:\n  selector:\n    app: example\n  ports:\n  - name: http\n    port: 80\n    targetPort: 80\n',
  'v1 ConfigMap': 'data:\n  key: value\n',
  'v1 Secret': 'type: Opaque\nstringData:\n  key: value\n',
  'v1 Namespace': '',
  'v1 ServiceAccount': '',
  'v1 PersistentVolumeClaim': 'spec:\n  accessModes: [ReadWriteOnce]\n  resources:\n    requests:\n      storage: 1Gi\n',
  'networking.k8s.io/v1 Ingress': `spec:
  rules:
  - host: example.localhost
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: example
            port:
              number: 80
`,
  'networking.k8s.io/v1 NetworkPolicy': 'spec:\n  podSelector:\n    matchLabels:\n      app: example\n  policyTypes: [Ingress]\n  ingress:\n  - from:\n    - podSelector: {}\n',
  'autoscaling/v2 HorizontalPodAutoscaler': `spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: example
  minReplicas: 1
  maxReplicas: 3
  metrics:
  - type: Resource
    resource:
      name: cpu
      target:
        type: Utilization
        averageUtilization: 80
`,
  'policy/v1 PodDisruptionBudget': 'spec:\n  minAvailable: 1\n  selector:\n    matchLabels:\n      app: example\n',
  'rbac.authorization.k8s.io/v1 Role': 'rules:\n- apiGroups: [""]\n  resources: [pods]\n  verbs: [get, list, watch]\n',
  'rbac.authorization.k8s.io/v1 ClusterRole': 'rules:\n- apiGroups: [""]\n  resources: [pods]\n  verbs: [get, list, watch]\n',
};

const head = (version, kind) => `apiVersion: ${version}\nkind: ${kind}\nmetadata:\n  name: example\n`;

// The text of a usual kind; none of any other.
export function begin(version, kind) {
  const rest = KNOWN[`${version} ${kind}`];
  return rest === undefined ? null : head(version, kind) + rest;
}

const EMPTY = { string: '""', integer: '0', number: '0', boolean: 'false', array: '[]', object: '{}' };

// A value that the schema allows, as far as it says: what it requires, its default, the first of its words.
function value(schemas, schema, indent, depth) {
  schema = follow(schemas, schema) ?? {};
  if (schema.default !== undefined) return ` ${JSON.stringify(schema.default)}`;
  if (schema.enum) return ` ${JSON.stringify(schema.enum[0])}`;
  const [type] = types(schema);
  const fields = type === 'object' && depth < 5 ? required(schemas, schema, indent, depth) : '';
  return fields ? `\n${fields.trimEnd()}` : ` ${EMPTY[type] ?? '{}'}`;
}

function required(schemas, schema, indent, depth) {
  const line = (name) => `${' '.repeat(indent)}${name}:${value(schemas, schema.properties?.[name], indent + 2, depth + 1)}\n`;
  return (schema.required ?? []).map(line).join('');
}

// The text of any kind by its schema, `[schemas, schema]`: what is required, and the fields of `spec`, each by its name.
export function skeleton(version, kind, namespaced, found) {
  if (!found) return head(version, kind);
  const [schemas, schema] = found;
  const top = ['apiVersion', 'kind', 'metadata', 'status'];
  const spec = follow(schemas, schema.properties?.spec);
  const own = { ...schema, required: (schema.required ?? []).filter((name) => !top.includes(name) && name !== 'spec') };
  let text = head(version, kind) + required(schemas, own, 0, 0);
  if (spec?.properties) {
    text += 'spec:\n';
    const needed = spec.required ?? [];
    for (const [name, field] of Object.entries(spec.properties)) {
      const line = `  ${name}:${value(schemas, field, 4, 1)}\n`;
      text += needed.includes(name) ? line : line.replace(/^(?=.)/gm, '# ').replaceAll('#   ', '  # ');
    }
  }
  return text;
}
