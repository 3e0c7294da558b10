// Reads resources of the Prometheus operator, an array in JSON; each has to fit its schema. Where the
// packages are, the first argument says: modules are not found by NODE_PATH.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const packages = join(process.argv[2], '@kubernetes-models/prometheus-operator');
for (const resource of JSON.parse(readFileSync(0, 'utf8'))) {
  const { apiVersion, kind } = resource;
  const module = await import(join(packages, apiVersion, `${kind}.js`));
  new module[kind](resource).validate();
  console.log(kind);
}
