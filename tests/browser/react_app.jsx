// An application of the hooks, for test_client.py: a run, a panel, a bus and a topic on one page.
import { useMemo, useState } from "react";
import { createRoot } from "react-dom/client";

import { useDAGStream, useIncubator, useMachine, usePanel } from "./react.js";

const { run, panel, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

function Run() {
  const [nodes, setNodes] = useState({});
  const [results, setResults] = useState(null);
  const store = useMemo(() => ({
    updateNodeData: (id, data) => setNodes((before) => ({ ...before, [id]: data.status })),
    setCostState: () => {},
    applyMutation: () => {},
    setExecutionComplete: setResults,
  }), []);
  const { send } = useDAGStream(run, store, { token });
  const approve = () => send({ type: "human_decision", node_id: "review", decision: "approve" });
  return <>
    <output id="nodes">{Object.entries(nodes).map((each) => each.join(":")).sort().join(" ")}</output>
    <button id="approve" disabled={nodes.review !== "paused"} onClick={approve}>Approve</button>
    <output id="total">{results?.total?.total}</output>
  </>;
}

function Panel() {
  const { state, trigger, connection } = usePanel(panel, { token });
  return <>
    <output id="panel-state">{connection.state}</output>
    <button id="add" onClick={() => trigger("add", { by: 2 })}>Add</button>
    <output id="count">{state.count}</output>
  </>;
}

function Bus() {
  const [told, setTold] = useState([]);
  const hear = ({ event_type, data }) => setTold((before) => [...before, `${event_type} ${data.n}`]);
  const { publish, call, state } = useIncubator("/ws/hive", { token, namespace: "react", onEvent: hear });
  return <>
    <button id="publish" onClick={() => publish("said", { n: told.length })}>Publish</button>
    <button id="call" onClick={() => call("add", { by: 5 })}>Call</button>
    <output id="events">{told.join(", ")}</output>
    <output id="bus-count">{state.count}</output>
  </>;
}

function Topic() {
  const { latest, ask } = useMachine("/ws/board", { topic: "react" });
  const [answer, setAnswer] = useState(null);
  const inquire = async () => setAnswer(await ask({ board: "react" }));
  return <>
    <output id="latest">{latest?.value}</output>
    <button id="ask" onClick={inquire}>Ask</button>
    <output id="answer">{answer?.value}</output>
  </>;
}

const place = document.createElement("div");
document.body.replaceChildren(place);
createRoot(place).render(<><Run /><Panel /><Bus /><Topic /></>);
