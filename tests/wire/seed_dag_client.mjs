// The seed's React hook, word for word but for its types, in Node: with a small store, with as much
// of React as it needs, and with a WebSocket that knows where the page would be.
//
//   node seed_dag_client.mjs ws://host:port <dag id> <token>
//
// Approves the node "review" as soon as that waits, and prints what the store has in the end.
const [origin, dagId, token] = process.argv.slice(2);

const NodeWebSocket = globalThis.WebSocket;
globalThis.WebSocket = class extends NodeWebSocket {
  constructor(path) {
    super(`${origin}${path}?token=${token}`);
  }
};
const useRef = (current) => ({ current });
const useCallback = (callback) => callback;
const useEffect = (effect) => { leave = effect(); };
let leave;

function useDAGStream(dagId, store) {
  const wsRef = useRef(null);
  const reconnectAttempt = useRef(0);

  const connect = useCallback(() => {
    const ws = new WebSocket(`/api/dags/${dagId}/stream`);

    ws.onopen = () => { reconnectAttempt.current = 0; };

    ws.onmessage = (event) => {
      const msg = JSON.parse(event.data);
      switch (msg.type) {
        case 'node_state':
          store.updateNodeData(msg.node_id, {
            status: msg.status, output: msg.output, metrics: msg.metrics,
          });
          break;
        case 'cost_update':
          store.setCostState({ spent: msg.spent, budget: msg.budget });
          break;
        case 'dag_mutated':
          store.applyMutation(msg.mutation);
          break;
        case 'execution_complete':
          store.setExecutionComplete(msg.results);
          break;
      }
    };

    ws.onclose = () => {
      // Reconnect with exponential backoff (max 30s)
      const delay = Math.min(1000 * 2 ** reconnectAttempt.current, 30000);
      reconnectAttempt.current++;
      setTimeout(connect, delay);
    };

    wsRef.current = ws;
  }, [dagId, store]);

  useEffect(() => { connect(); return () => wsRef.current?.close(); }, [connect]);

  // Send client events
  const send = useCallback((event) => {
    wsRef.current?.send(JSON.stringify(event));
  }, []);

  return { send };
}

const nodes = {};
const mutations = [];
let cost = null;
const { send } = useDAGStream(dagId, {
  updateNodeData(id, data) {
    const waited = nodes[id]?.status === "paused";
    nodes[id] = data;
    if (id === "review" && data.status === "paused" && !waited) {
      send({ type: "human_decision", node_id: id, decision: "approve" });
    }
  },
  setCostState(state) { cost = state; },
  applyMutation(mutation) { mutations.push(mutation); },
  setExecutionComplete(results) {
    console.log(JSON.stringify({ nodes, cost, mutations, results }));
    leave();
    process.exit(0);
  },
});
