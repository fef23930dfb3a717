// A client of the notes service. It knows the contract and gRPC, and nothing of
// Argosy.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

// load reads the contract. protos are the folders that its imports start from.
function load(file, protos) {
  const definition = loader.loadSync(file, { includeDirs: protos, longs: Number, defaults: true });
  return grpc.loadPackageDefinition(definition).argosy.guide.notes.v1.Notes;
}

// credentials are those of TLS when there is a CA to trust, with a certificate
// of one's own when there is one; otherwise everything travels in the clear.
function credentials({ ca, key, cert }) {
  if (!ca) return grpc.credentials.createInsecure();
  const read = (name) => name && fs.readFileSync(name);
  return grpc.credentials.createSsl(read(ca), read(key), read(cert));
}

// metadata of a call: whose it is, and the key under which it is done once.
function metadata({ token, key } = {}) {
  const md = new grpc.Metadata();
  if (token) md.set('authorization', `Bearer ${token}`);
  if (key) md.set('idempotency-key', key);
  return md;
}

const details = loader.loadSync(path.join(__dirname, 'google/rpc/errors.proto'), { defaults: true });
const decode = (name, bytes) => details[`google.rpc.${name}`].deserialize(bytes);

// explain returns the details of an error by their kind: ErrorInfo says in a
// word what went wrong (reason), RetryInfo when to come back, BadRequest which
// fields are wrong.
function explain(err) {
  const [raw] = err.metadata.get('grpc-status-details-bin');
  if (!raw) return {};
  const found = {};
  for (const any of decode('Status', raw).details) {
    const kind = any.type_url.split('.').pop();
    if (details[`google.rpc.${kind}`]) found[kind] = decode(kind, any.value);
  }
  return found;
}

module.exports = { credentials, explain, load, metadata };
