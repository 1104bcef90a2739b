'use strict';
// The scenario of every client with kafkajs. gzip is its own; snappy, lz4 and zstd are codecs that it lets one plug in, here from
// packages without native code.

const crypto = require('node:crypto');
const fs = require('node:fs');
const readline = require('node:readline');
const { Kafka, CompressionTypes, CompressionCodecs, logLevel, Partitioners } = require('kafkajs');
const lz4 = require('lz4js');
const xxhash = require('lz4js/xxh32.js');
const snappy = require('snappyjs');
const { ZstdCodec } = require('zstd-codec');

const PARTITIONS = 3;
const WAIT_MS = 40_000;
const CODECS = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD };

const given = {};
for (let i = 2; i + 1 < process.argv.length; i += 2) given[process.argv[i].slice(2)] = process.argv[i + 1];

const lines = fs.readFileSync(given.input, 'utf8').trimEnd().split('\n').map(line => line.split('\t'));
const topicOf = of => `${given.name}-${of}`;
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));
const place = record => `${record.partition}/${record.offset}`;
const pair = (key, value) => `${key}\t${value}`;

function check(holds, otherwise) {
  if (!holds) throw new Error(typeof otherwise === 'function' ? otherwise() : otherwise);
}

async function until(condition, what) {
  const end = Date.now() + WAIT_MS;
  while (!await condition()) {
    check(Date.now() < end, `waited ${WAIT_MS / 1000} s for ${what}`);
    await sleep(20);
  }
}

function counted(pairs) {
  const counts = new Map();
  for (const one of pairs) counts.set(one, (counts.get(one) || 0) + 1);
  return JSON.stringify([...counts].sort());
}

/** Bytes that do not compress to nothing and differ from place to place. */
function mixed(size) {
  const parts = [];
  let state = Buffer.from('coretide');
  for (let at = 0; at < size; at += 32) parts.push(state = crypto.createHash('sha256').update(state).digest());
  return Buffer.concat(parts).subarray(0, size);
}

async function plugInCodecs() {
  const zstd = await new Promise(resolve => ZstdCodec.run(found => resolve(new found.Simple())));
  // Java's framing of snappy: a header, then blocks with their lengths; brokers and consumers take bare blocks too.
  CompressionCodecs[CompressionTypes.Snappy] = () => ({
    compress: async encoder => Buffer.from(snappy.compress(encoder.buffer)),
    decompress: async bytes => {
      const framed = bytes.length >= 16 && bytes.subarray(0, 8).equals(Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]));
      if (!framed) return Buffer.from(snappy.uncompress(bytes));
      const parts = [];
      for (let at = 16; at < bytes.length;) {
        const size = bytes.readUInt32BE(at);
        parts.push(Buffer.from(snappy.uncompress(bytes.subarray(at + 4, at + 4 + size))));
        at += 4 + size;
      }
      return Buffer.concat(parts);
    },
  });
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: async encoder => {
      const frame = Buffer.from(lz4.compress(encoder.buffer));
      // One block, so independent of others, but lz4js does not say so, and Kafka refuses frames that do not.
      frame[4] |= 0x20;
      frame[6] = (xxhash.hash(0, frame, 4, 2) >> 8) & 0xff;
      return frame;
    },
    decompress: async bytes => Buffer.from(lz4.decompress(bytes)),
  });
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
    decompress: async bytes => Buffer.from(zstd.decompress(bytes)),
  });
}

const kafka = new Kafka({
  clientId: 'coretide-scenario', brokers: [given.bootstrap], logLevel: logLevel.WARN,
  logCreator: () => ({ namespace, log }) => console.error(namespace, log.message, log.error || ''),
  retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 60 },
});
const admin = kafka.admin();

function newProducer(options = {}) {
  return kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...options });
}

async function create(of, partitions) {
  await admin.createTopics({ topics: [{ topic: topicOf(of), numPartitions: partitions, replicationFactor: 1 }], waitForLeaders: true });
}

async function produce(of, messages, { codec = 'none', acks = -1 } = {}) {
  const producer = newProducer();
  await producer.connect();
  const answer = await producer.send({ topic: topicOf(of), messages, acks, compression: CODECS[codec] });
  await producer.disconnect();
  return answer;
}

/** A consumer that notes what it reads and which partitions it has. */
class Reader {
  constructor(group, of, from) {
    this.records = new Map();
    this.assigned = [];
    this.topic = topicOf(of);
    this.from = from;
    this.consumer = kafka.consumer({ groupId: group, sessionTimeout: 10_000, heartbeatInterval: 1_000, maxWaitTimeInMs: 100,
      rebalanceTimeout: 10_000, maxBytesPerPartition: 4 * 1024 * 1024 });
    this.consumer.on(this.consumer.events.GROUP_JOIN, ({ payload }) => {
      this.assigned = payload.memberAssignment[this.topic] || [];
    });
    this.consumer.on(this.consumer.events.REBALANCING, () => { this.assigned = []; });
  }

  async start() {
    await this.consumer.connect();
    await this.consumer.subscribe({ topic: this.topic, fromBeginning: true });
    await this.consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        const record = { ...message, partition, offset: Number(message.offset) };
        this.records.set(place(record), record);
      },
    });
    for (const [partition, offset] of this.from || []) this.consumer.seek({ topic: this.topic, partition, offset: String(offset) });
    return this;
  }

  all() {
    return [...this.records.values()].sort((a, b) => a.partition - b.partition || a.offset - b.offset);
  }

  /** Commits what was read, partition by partition. */
  async commit() {
    const next = new Map();
    for (const record of this.records.values()) {
      if (this.assigned.includes(record.partition)) {
        next.set(record.partition, Math.max(next.get(record.partition) || 0, record.offset + 1));
      }
    }
    const offsets = [...next].map(([partition, offset]) => ({ topic: this.topic, partition, offset: String(offset) }));
    if (offsets.length) await this.consumer.commitOffsets(offsets);
  }

  async close() {
    await this.consumer.disconnect();
  }
}

let readers = 0;

/** kafkajs reads only as a group, so a group of its own that never commits; everything from `offset`, `count` at least. */
async function read(of, partitions, offset, count) {
  const from = Array.from({ length: partitions }, (_, partition) => [partition, offset]);
  const reader = await new Reader(`${given.name}-reader-${readers++}`, of, from).start();
  await until(() => reader.all().filter(record => record.offset >= offset).length >= count, `${count} records of ${of}`);
  await sleep(200);
  await reader.close();
  return reader.all().filter(record => record.offset >= offset);
}

const marked = (mark, from, to) => lines.slice(from, to).map(([key, value]) => ({ key, value: mark + value }));

let produced = 0;

async function createTopic() {
  await create('log', PARTITIONS);
  const { topics } = await admin.fetchTopicMetadata({ topics: [topicOf('log')] });
  check(topics[0].partitions.length === PARTITIONS, `the topic has ${topics[0].partitions.length} partitions`);
  return `${PARTITIONS} partitions`;
}

async function codecsAndAcks() {
  const wanted = [];
  const share = Math.floor(lines.length / 15);
  // acks=0 comes last: a broker may still be making the topic, and nobody would be told.
  const ways = Object.keys(CODECS).flatMap(codec => [-1, 1, 0].map(acks => [codec, acks]));
  for (const [index, [codec, acks]] of ways.entries()) {
    const part = lines.slice(index * share, (index + 1) * share);
    wanted.push(...part);
    await produce('log', part.map(([key, value]) => ({ key, value })), { codec, acks });
    // Nobody says when acks=0 is there, and the next producer has another connection.
    await until(async () => (await admin.fetchTopicOffsets(topicOf('log'))).reduce((sum, { high }) => sum + Number(high), 0) === wanted.length,
      `${wanted.length} records after acks=${acks}`);
  }
  produced = wanted.length;
  const found = {}, homes = {}, next = {};
  for (const record of await read('log', PARTITIONS, 0, wanted.length)) {
    check(record.offset === (next[record.partition] || 0), `a hole before ${place(record)}`);
    next[record.partition] = record.offset + 1;
    (found[record.key] ||= []).push(String(record.value));
    (homes[record.key] ||= new Set()).add(record.partition);
  }
  const order = {};
  for (const [key, value] of wanted) (order[key] ||= []).push(value);
  for (const key of new Set([...Object.keys(order), ...Object.keys(found)])) {
    check(JSON.stringify(found[key]) === JSON.stringify(order[key]), `the records of ${key} are not what was produced, in order`);
    check(homes[key].size === 1, `${key} is in two partitions`);
  }
  return `${wanted.length} records, codecs ${Object.keys(CODECS).join(' ')}, acks 0 1 all`;
}

async function group() {
  const name = `${given.name}-group`;
  const [first, second] = await Promise.all([new Reader(name, 'log').start(), new Reader(name, 'log').start()]);
  const seen = () => new Set([...first.records.keys(), ...second.records.keys()]).size;
  await until(() => first.assigned.length && second.assigned.length && first.assigned.length + second.assigned.length === PARTITIONS
    && seen() >= produced, 'both members to share the partitions and read everything');
  check(!first.assigned.some(partition => second.assigned.includes(partition)), 'both members have the same partition');
  // One of them may have read all before the other came, so what is committed is what both have read.
  for (const [key, record] of first.records) second.records.set(key, record);
  for (const [key, record] of second.records) first.records.set(key, record);
  await Promise.all([first.commit(), second.commit()]);
  await first.close();
  await until(() => second.assigned.length === PARTITIONS, 'the second member to take over');
  check(seen() === produced, () => `the group read ${seen()} of ${produced}`);
  second.records.clear();
  const more = marked('after the takeover: ', 0, 200);
  await produce('log', more, { codec: 'zstd' });
  await until(() => second.records.size >= more.length, 'the records after the takeover');
  check(counted(second.all().map(r => pair(r.key, r.value))) === counted(more.map(m => pair(m.key, m.value))),
    'after the takeover the member read something else than what was committed to come next');
  await second.commit();
  await second.close();
  const again = marked('after the resume: ', 200, 300);
  await produce('log', again, { codec: 'gzip' });
  const third = await new Reader(name, 'log').start();
  await until(() => third.records.size >= again.length, 'a new member to resume');
  check(counted(third.all().map(r => pair(r.key, r.value))) === counted(again.map(m => pair(m.key, m.value))),
    'a new member did not resume where the group had committed');
  await third.commit();
  await third.close();
  produced += more.length + again.length;
  const [{ partitions }] = await admin.fetchOffsets({ groupId: name, topics: [topicOf('log')] });
  const committed = partitions.reduce((sum, { offset }) => sum + Number(offset), 0);
  check(committed === produced, `the admin client sees ${committed} committed, not ${produced}`);
  return 'two members, a takeover, a resume from what was committed';
}

async function timestamps() {
  await create('times', 1);
  const base = Date.now() - 3_600_000;
  for (const [chunk, codec] of Object.keys(CODECS).entries()) {
    const part = lines.slice(chunk * 100, chunk * 100 + 100);
    await produce('times', part.map(([key, value], i) => ({ key, value, partition: 0, timestamp: String(base + (chunk * 100 + i) * 1000) })),
      { codec });
  }
  for (const wanted of [0, 1, 137, 250, 499]) {
    for (const early of [0, 999]) {
      const [{ offset }] = await admin.fetchTopicOffsetsByTimestamp(topicOf('times'), base + wanted * 1000 - early);
      check(Number(offset) === wanted, `time ${wanted} s - ${early} ms is offset ${offset}`);
    }
  }
  const [record] = await read('times', 1, 250, 250);
  check(Number(record.timestamp) === base + 250_000 && String(record.value) === lines[250][1], 'offset 250 is another record');
  return 'exact offsets for 10 times, inside compressed batches too';
}

async function headers() {
  await create('headers', 1);
  // kafkajs takes null for a missing value as an error, and groups duplicate keys in a list.
  await produce('headers', [{ key: 'k', value: 'v', partition: 0, headers: { trace: ['one', 'two'], empty: '', 'ümlaut': 'größe' } }]);
  const [record] = await read('headers', 1, 0, 1);
  const back = Object.entries(record.headers).map(([key, value]) => [key, [].concat(value).map(String)]);
  const wanted = [['trace', ['one', 'two']], ['empty', ['']], ['ümlaut', ['größe']]];
  check(JSON.stringify(back) === JSON.stringify(wanted), `the headers came back as ${JSON.stringify(back)}`);
  return 'duplicate keys; a null value cannot be sent by this client';
}

async function sizes() {
  await create('sizes', 1);
  const large = mixed(900 * 1024);
  const wanted = [['empty', Buffer.alloc(0)], ['null', null], [null, Buffer.from('no key')]];
  for (const codec of Object.keys(CODECS)) wanted.push([codec, large]);
  for (const [key, value] of wanted) await produce('sizes', [{ key, value, partition: 0 }], { codec: key in CODECS ? key : 'none' });
  const records = await read('sizes', 1, 0, wanted.length);
  for (const [index, [key, value]] of wanted.entries()) {
    const record = records[index];
    const same = value === null ? record.value === null : record.value !== null && value.equals(record.value);
    check(same && (key === null ? record.key === null : String(record.key) === key), `record ${index} came back as something else`);
  }
  return 'an empty value, a null value, a null key, 900 KiB with each codec';
}

async function tooLarge() {
  const answer = await produce('sizes', [{ key: 'too large', value: mixed(2 * 1024 * 1024), partition: 0 }]).catch(error => error);
  const error = answer.cause && answer.cause.type ? answer.cause : answer;
  check(error.type === 'MESSAGE_TOO_LARGE', `2 MiB were answered with ${error.type || JSON.stringify(answer)}`);
  await produce('sizes', [{ key: 'after', value: 'still works', partition: 0 }]);
  return 'refused with MESSAGE_TOO_LARGE, the next one taken';
}

async function kill() {
  await create('kill', PARTITIONS);
  const name = `${given.name}-kill-group`;
  const member = await new Reader(name, 'kill').start();
  const producer = newProducer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  let restarted = false, number = 0, after = 0, said = false;
  readline.createInterface({ input: process.stdin }).once('line', line => { restarted = line === 'RESTARTED'; });
  const acked = [];
  const end = Date.now() + 60_000;
  while (after < 10) {
    const messages = [];
    for (let i = 0; i < 50; i++, number++) {
      const [key, value] = lines[number % lines.length];
      messages.push({ key, value: `${number} ${value}` });
    }
    const sending = producer.send({ topic: topicOf('kill'), messages, compression: CompressionTypes.GZIP });
    if (!said && number >= 600 && member.records.size > 0) {
      await member.commit();
      console.log('READY-FOR-KILL');
      said = true;
    }
    const answer = await sending;
    check(answer.every(({ errorCode }) => errorCode === 0), () => `an error in ${JSON.stringify(answer)}`);
    acked.push(...messages.map(({ key, value }) => pair(key, value)));
    after += restarted ? 1 : 0;
    check(Date.now() < end, () => `60 s were not enough for the kill: ${acked.length} acked`);
    await sleep(10);
  }
  await producer.disconnect();
  const there = await read('kill', PARTITIONS, 0, acked.length);
  const values = there.map(record => pair(record.key, record.value));
  const set = new Set(values);
  for (const one of acked) check(set.has(one), `acked, but not there: ${one}`);
  check(set.size === values.length, "an idempotent producer's record is there twice");
  await until(() => member.records.size >= there.length, 'the group to go on after the restart');
  const seen = member.all().map(record => pair(record.key, record.value));
  check(counted(seen) === counted(values), 'the group read something else than what is there');
  await until(() => member.commit().then(() => true, () => false), 'the group to commit after the restart');
  await member.close();
  const extra = marked('after all: ', 0, 50);
  await produce('kill', extra);
  const last = await new Reader(name, 'kill').start();
  await until(() => last.records.size >= extra.length, 'the group to resume');
  check(counted(last.all().map(r => pair(r.key, r.value))) === counted(extra.map(m => pair(m.key, m.value))),
    'the group did not resume where it had committed');
  await last.close();
  return `${acked.length} acked around the kill, all there; the group went on and resumed`;
}

async function main() {
  await plugInCodecs();
  console.log('kafkajs', require('kafkajs/package.json').version);
  await admin.connect();
  const steps = { 'create-topic': createTopic, 'codecs-and-acks': codecsAndAcks, group, timestamps, headers, sizes,
    'too-large': tooLarge, kill };
  for (const [step, play] of Object.entries(steps)) {
    const started = Date.now();
    try {
      const said = await play();
      console.log(`ok ${step}: ${said} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
    } catch (error) {
      console.error(error);
      console.log(`FAIL ${step}: ${String(error).replaceAll('\n', ' ').slice(0, 300)}`);
      return 1;
    }
  }
  console.log('DONE');
  return 0;
}

main().then(code => process.exit(code), error => {
  console.log(`FAIL start: ${error}`);
  process.exit(1);
});
