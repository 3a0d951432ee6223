// The seed's examples, word for word, in Node: only the address is another, and "(…)" are filled in.
//
//   node seed_client.mjs ws://host:port/ws?namespace=…[&token=…]
//
// Every example of the seed's page is played in its order; prints what came of each.
const address = process.argv[2];
const NodeWebSocket = globalThis.WebSocket;
globalThis.WebSocket = class extends NodeWebSocket {
  constructor(url) {
    if (url !== "ws://localhost:8080/ws") throw new Error(`the seed connects elsewhere: ${url}`);
    super(address);
  }
};

const printed = [];
console.log = (line) => printed.push(line);
const inbound = {};
const wanted = new Map();
function handleMessage(msg) {
  (inbound[msg.type] ??= []).push(msg);
  wanted.get(msg.type)?.();
}
const first = (type, have = () => true) => new Promise((resolve) => {
  const look = () => inbound[type]?.some(have) && resolve(inbound[type].find(have));
  wanted.set(type, look);
  look();
});

// -- Connection -----------------------------------------------------------------------------------
const connected = await (async () => {
const ws = new WebSocket('ws://localhost:8080/ws');
ws.onopen = () => console.log('Connected');
ws.onmessage = (e) => {
  const msg = JSON.parse(e.data);
  handleMessage(msg);
};
return ws;
})();
await first("replay_done");

// -- Outbound messages (client → server) ----------------------------------------------------------
const send = (message) => connected.send(JSON.stringify(message));
send({
  "type": "publish",
  "event": "task.started",
  "data": { "task": "auth-module" }
});
await first("event", (msg) => msg.event_type === "task.started");

send({
  "type": "dance_call",
  "tool": "make_move",
  "args": { "from": "e2", "to": "e4" },
  "agentId": "player-1",
  "role": "white",
  "callId": "call-123"
});
await first("dance_result", (msg) => msg.callId === "call-123");
await first("metrics", (msg) => msg.data.totalTokens > 0);

// -- Event replay: who comes later is caught up ----------------------------------------------------
const caughtUp = await (async () => {
const replayed = [];
const ws = new WebSocket('ws://localhost:8080/ws');

// Register handler BEFORE open fires
ws.onmessage = (e) => {
  const msg = JSON.parse(e.data);
  if (msg.type === 'replay_done') {
    console.log('Caught up with all events');
  }
  replayed.push(msg);
  if (msg.type === 'replay_done') done();
};
let done;
await new Promise((resolve) => { done = resolve; });
ws.close();
return replayed;
})();

// -- Control, then reset: "clear all state, events, and claims" ------------------------------------
send({ "type": "control", "command": "halt", "reason": "Budget exceeded" });
await first("control");
inbound.replay_done = [];
send({ "type": "reset" });
await first("replay_done");

const report = { printed, inbound, caughtUp };
process.stdout.write(JSON.stringify(report), () => process.exit(0));
