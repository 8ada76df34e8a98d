// The official Node SDK against a running gateway whose upstream is the simulator.
// BASE_URL is the gateway's address; API_KEY a client with credit, POOR_KEY one without, LIMITED_KEY one that may use
// only sim/large.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';

import OpenAI from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const { BASE_URL, API_KEY, POOR_KEY, LIMITED_KEY } = process.env;
const PROMPT = 'zebra quartz: say something.';
const TEXT = 'Grüße aus 世界: 🦀 und so weiter.';

const client = sdk();
const Weather = z.object({ city: z.string(), days: z.number().int(), unit: z.enum(['celsius', 'fahrenheit']) });

function sdk(options = {}) {
  return new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: API_KEY, maxRetries: 0, timeout: 60_000, ...options });
}

/** A chat request; `sim` is what is asked of the simulator. */
function chat(sim = {}, fields = {}) {
  const messages = [{ role: 'user', content: PROMPT }];
  return { model: 'sim/small', max_tokens: 256, messages, x_sim: sim, ...fields };
}

/** Everything that a stream says. */
async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

/** The error that a call ends with, of a class of the SDK. */
async function errorOf(promise, kind) {
  const error = await promise.then(
    () => assert.fail('it succeeded'),
    (error) => error,
  );
  assert.equal(error.constructor, kind, `${error.constructor.name}: ${error.message}`);
  return error;
}

/** A loopback port that nobody listens on. */
async function unusedPort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function waitFor(probe, what) {
  const deadline = Date.now() + 5000;
  while (!(await probe())) {
    assert.ok(Date.now() < deadline, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test('chat', async () => {
  const answer = await client.chat.completions.create(chat({ text: TEXT, completion_tokens: 9 }));
  assert.equal(answer.object, 'chat.completion');
  assert.equal(answer.model, 'sim/small');
  assert.equal(answer.choices[0].message.content, TEXT);
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.equal(answer.usage.completion_tokens, 9);
  assert.ok(answer._request_id);
});

test('stream', async () => {
  const chunks = await collect(await client.chat.completions.create(chat({ text: TEXT, chunks: 9 }, { stream: true })));
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join(''), TEXT);
  assert.ok(chunks.every((chunk) => !('usage' in chunk)));
  assert.deepEqual(chunks.map((chunk) => chunk.choices[0].finish_reason).filter(Boolean), ['stop']);
});

test('stream with usage', async () => {
  const request = chat({ completion_tokens: 5 }, { stream: true, stream_options: { include_usage: true } });
  const chunks = await collect(await client.chat.completions.create(request));
  const last = chunks.at(-1);
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, 5);
  assert.ok(chunks.slice(0, -1).every((chunk) => !chunk.usage && chunk.choices.length === 1));
});

test('stream with other line ends, cut anywhere', async () => {
  for (const line_end of ['lf', 'crlf', 'cr']) {
    const request = chat({ text: TEXT, chunks: 5, cut: 1, line_end }, { stream: true });
    const chunks = await collect(await client.chat.completions.create(request));
    assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join(''), TEXT);
  }
});

test('the stream helper', async () => {
  const stream = client.chat.completions.stream(chat({ text: TEXT, chunks: 5 }));
  let said = '';
  stream.on('content', (delta) => (said += delta));
  const final = await stream.finalChatCompletion();
  assert.equal(said, TEXT);
  assert.equal(final.choices[0].message.content, TEXT);
});

test('tools', async () => {
  const tools = [zodFunction({ name: 'get_weather', parameters: Weather })];
  const answer = await client.chat.completions.create(chat({}, { tools, tool_choice: 'required' }));
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(answer.choices[0].finish_reason, 'tool_calls');
  assert.equal(call.function.name, 'get_weather');
  Weather.parse(JSON.parse(call.function.arguments));
});

test('streamed tool arguments', async () => {
  const tools = [zodFunction({ name: 'get_weather', parameters: Weather })];
  const stream = client.chat.completions.stream(chat({ chunks: 6 }, { tools, tool_choice: 'required' }));
  const final = await stream.finalChatCompletion();
  Weather.parse(final.choices[0].message.tool_calls[0].function.parsed_arguments);
});

test('structured output', async () => {
  const response_format = zodResponseFormat(Weather, 'weather');
  const answer = await client.chat.completions.parse(chat({}, { response_format }));
  Weather.parse(answer.choices[0].message.parsed);
});

test('structured output, streamed', async () => {
  const response_format = zodResponseFormat(Weather, 'weather');
  const final = await client.chat.completions.stream(chat({}, { response_format })).finalChatCompletion();
  Weather.parse(final.choices[0].message.parsed);
});

test('raw responses and headers', async () => {
  const { data, response, request_id } = await client.chat.completions.create(chat()).withResponse();
  assert.equal(response.status, 200);
  assert.equal(request_id, response.headers.get('x-request-id'));
  assert.equal(data._request_id, request_id);
  assert.equal(response.headers.get('set-cookie'), null);
  const stream = await client.chat.completions.create(chat({}, { stream: true })).asResponse();
  assert.match(stream.headers.get('content-type'), /^text\/event-stream/);
  assert.match(await stream.text(), /data: \[DONE\]\n\n$/);
});

test('abort', async () => {
  const stream = await client.chat.completions.create(chat({ chunks: 100, chunk_ms: 100 }, { stream: true }));
  let seen = 0;
  for await (const chunk of stream) {
    assert.ok(chunk.choices);
    seen += 1;
    if (seen === 3) stream.controller.abort();
  }
  assert.equal(seen, 3);
  const controller = new AbortController();
  const waiting = client.chat.completions.create(chat({ first_ms: 1500 }), { signal: controller.signal });
  controller.abort();
  await errorOf(waiting, OpenAI.APIUserAbortError);
});

test('models', async () => {
  const models = await collect(client.models.list());
  assert.ok(models.some((model) => model.id === 'openai/gpt-4o-mini'));
  const model = await client.models.retrieve('openai/gpt-4o-mini');
  assert.equal(model.object, 'model');
  assert.ok(model.owned_by);
});

test('400', async () => {
  const error = await errorOf(client.chat.completions.create(chat({}, { n: 2 })), OpenAI.BadRequestError);
  assert.equal(error.param, 'n');
  assert.equal(error.type, 'invalid_request_error');
  assert.ok(error.requestID);
});

test('401', async () => {
  const wrong = sdk({ apiKey: 'sk-air-nothing' });
  const error = await errorOf(wrong.chat.completions.create(chat()), OpenAI.AuthenticationError);
  assert.equal(error.code, 'invalid_api_key');
});

test('402 is an APIError, and is not retried', async () => {
  let sent = 0;
  const counting = (url, init) => {
    sent += 1;
    return fetch(url, init);
  };
  const poor = sdk({ apiKey: POOR_KEY, maxRetries: 2, fetch: counting });
  const error = await errorOf(poor.chat.completions.create(chat()), OpenAI.APIError);
  assert.equal(error.status, 402);
  assert.equal(error.code, 'insufficient_quota');
  assert.equal(sent, 1);
});

test('403', async () => {
  const limited = sdk({ apiKey: LIMITED_KEY });
  const refused = () =>
    limited.chat.completions.create(chat({ error: 'status:500' })).then(
      () => false,
      (error) => error.status === 403,
    );
  await waitFor(refused, 'the list of models acts');
  const error = await errorOf(limited.chat.completions.create(chat()), OpenAI.PermissionDeniedError);
  assert.equal(error.code, 'model_not_allowed');
});

test('404', async () => {
  const unknown = client.chat.completions.create(chat({}, { model: 'sim/none' }));
  assert.equal((await errorOf(unknown, OpenAI.NotFoundError)).code, 'model_not_found');
  await errorOf(client.models.retrieve('sim/none'), OpenAI.NotFoundError);
  await errorOf(client.embeddings.create({ model: 'sim/small', input: 'text' }), OpenAI.NotFoundError);
});

test('429 with a time to wait', async () => {
  const limited = client.chat.completions.create(chat({ error: 'status:429_provider' }));
  const error = await errorOf(limited, OpenAI.RateLimitError);
  assert.ok(Number(error.headers.get('retry-after')) >= 1);
});

test('5xx', async () => {
  for (const fault of ['status:500', 'status:502', 'status:503', 'in_200', 'garbage', 'empty', 'reset']) {
    const error = await errorOf(client.chat.completions.create(chat({ error: fault })), OpenAI.InternalServerError);
    assert.ok([502, 503].includes(error.status));
  }
});

test('an error in the middle of a stream', async () => {
  const request = chat({ error: { kind: 'mid_stream', after: 2 }, chunks: 8 }, { stream: true });
  const stream = await client.chat.completions.create(request);
  const error = await errorOf(collect(stream), OpenAI.APIError);
  assert.equal(error.status, undefined);
  assert.ok(error.message);
});

test('connection and timeout errors', async () => {
  const nobody = sdk({ baseURL: `http://127.0.0.1:${await unusedPort()}/v1` });
  await errorOf(nobody.chat.completions.create(chat()), OpenAI.APIConnectionError);
  const impatient = sdk({ timeout: 200 });
  const slow = impatient.chat.completions.create(chat({ first_ms: 1500 }));
  await errorOf(slow, OpenAI.APIConnectionTimeoutError);
});

test('many at once', async () => {
  const answers = await Promise.all(Array.from({ length: 50 }, () => client.chat.completions.create(chat())));
  assert.equal(new Set(answers.map((answer) => answer.id)).size, 50);
});
