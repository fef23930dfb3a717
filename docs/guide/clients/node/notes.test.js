// Calls of every kind. NOTES_ADDRESS is where the service listens, NOTES_TOKEN
// signs a user in, NOTES_PROTOS are the folders of the contract and of what it
// imports; NOTES_CA, NOTES_KEY and NOTES_CERT are files for TLS.
'use strict';

const assert = require('node:assert/strict');
const path = require('node:path');
const { after, before, test } = require('node:test');
const { once } = require('node:events');
const { setTimeout: pause } = require('node:timers/promises');
const grpc = require('@grpc/grpc-js');
const notes = require('./notes.js');

const env = process.env;
const protos = env.NOTES_PROTOS.split(path.delimiter);
const Notes = notes.load('notes.proto', protos);
const signedIn = (key) => notes.metadata({ token: env.NOTES_TOKEN, key });
const soon = () => ({ deadline: Date.now() + 10_000 });
let client;

before(() => {
  client = new Notes(env.NOTES_ADDRESS, notes.credentials({ ca: env.NOTES_CA, key: env.NOTES_KEY, cert: env.NOTES_CERT }));
});
after(() => client.close());

// call makes a unary call into a promise.
const call = (method, req, md = notes.metadata(), options = soon()) =>
  new Promise((done, fail) => client[method](req, md, options, (err, res) => (err ? fail(err) : done(res))));

test('a unary call needs a token, and says so', async () => {
  const err = await call('Add', { text: 'milk' }).catch((e) => e);
  assert.equal(err.code, grpc.status.UNAUTHENTICATED);
  assert.equal(notes.explain(err).ErrorInfo.reason, 'UNAUTHENTICATED');
});

test('a call under a key is done once', async () => {
  const first = await call('Add', { text: 'milk' }, signedIn('key-1'));
  assert.deepEqual(await call('Add', { text: 'milk' }, signedIn('key-1')), first);
  const other = await call('Add', { text: 'eggs' }, signedIn('key-2'));
  assert.notEqual(other.id, first.id);
  const err = await call('Add', { text: 'bread' }, signedIn('key-1')).catch((e) => e);
  assert.equal(notes.explain(err).ErrorInfo.reason, 'IDEMPOTENCY_KEY_REUSED');
});

test('an error says which field is wrong', async () => {
  const err = await call('Add', { text: '' }, signedIn()).catch((e) => e);
  assert.equal(err.code, grpc.status.INVALID_ARGUMENT);
  assert.deepEqual(notes.explain(err).BadRequest.fieldViolations, [{ field: 'text', description: 'must not be empty' }]);
});

test('an error says why, and when to come back', async () => {
  await call('Add', { text: 'jam' }, signedIn());
  const err = await call('Add', { text: 'tea' }, signedIn()).catch((e) => e);
  assert.equal(err.code, grpc.status.FAILED_PRECONDITION);
  const { ErrorInfo, RetryInfo } = notes.explain(err);
  assert.equal(ErrorInfo.reason, 'NOTEBOOK_FULL');
  assert.equal(ErrorInfo.metadata.most, '3');
  assert.equal(Number(RetryInfo.retryDelay.seconds), 60);
});

test('a server stream ends after its last message', async () => {
  const texts = [];
  for await (const note of client.List({}, notes.metadata(), soon())) texts.push(note.text);
  assert.deepEqual(texts, ['milk', 'eggs', 'jam']);
});

test('a stream both ways answers each message before the next is sent', async () => {
  const both = client.Echo(notes.metadata(), soon());
  for (const text of ['one', 'two', 'three']) {
    both.write({ text });
    const [line] = await once(both, 'data');
    assert.equal(line.text, text);
  }
  both.end();
  const [status] = await once(both, 'status');
  assert.equal(status.code, grpc.status.OK);
});

// nobodyWaits returns when the service has no call of Wait any more.
async function nobodyWaits() {
  while ((await call('Waiting', {})).callers > 0) await pause(5);
}

test('a deadline ends the call here and there', async () => {
  const err = await call('Wait', {}, notes.metadata(), { deadline: Date.now() + 100 }).catch((e) => e);
  assert.equal(err.code, grpc.status.DEADLINE_EXCEEDED);
  await nobodyWaits();
});

test('a call that is cancelled ends here and there', async () => {
  const ended = new Promise((done) => {
    const waiting = client.Wait({}, notes.metadata(), soon(), done);
    (async () => {
      while ((await call('Waiting', {})).callers === 0) await pause(5);
      waiting.cancel();
    })();
  });
  assert.equal((await ended).code, grpc.status.CANCELLED);
  await nobodyWaits();
});
