// The seed's JavaScript client: the browser's WebSocket, the token in the query, six message types.
//
//   node seed_client.mjs ws://host:port/panels/<id>/ws?token=<jwt>
//
// Triggers "add" twice, drops the events' topic before the second one, and prints what it knows.
const socket = new WebSocket(process.argv[2]);
let state = null;
let panelId = null;
const events = [];
const results = {};
const errors = [];
let pongs = 0;

const send = (message) => socket.send(JSON.stringify(message));

function apply(mutations) {
  for (const { op, key, value } of mutations) {
    if (op === "set") state[key] = value;
    else if (op === "delete") delete state[key];
  }
}

socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  switch (message.type) {
    case "CONNECTED":
      ({ panelId, state } = message);
      send({ type: "PING" });
      break;
    case "PONG":
      pongs += 1;
      send({ type: "TRIGGER", tool: "add", args: { by: 2 }, requestId: "js-1" });
      break;
    case "PATCH":
      apply(message.mutations);
      break;
    case "EVENT":
      events.push(message.event);
      break;
    case "RESULT":
      results[message.requestId] = message.result;
      if (message.requestId === "js-1") {
        send({ type: "UNSUBSCRIBE", topics: ["events"] });
        send({ type: "TRIGGER", tool: "add", args: { by: 3 }, requestId: "js-2" });
      } else {
        send({ type: "SUBSCRIBE", topics: ["events"] });
        send({ type: "TRIGGER", tool: "nothing" });
      }
      break;
    case "ERROR":
      errors.push(message);
      socket.close(1000);
      break;
    default:
      throw new Error(`a client of the seed does not know ${message.type}`);
  }
};
socket.onclose = ({ code }) => {
  console.log(JSON.stringify({ panelId, state, events, results, errors, pongs, code }));
};
