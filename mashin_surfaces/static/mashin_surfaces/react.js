// React hooks on top of client.js: a component has a client as long as it is mounted, and is drawn anew
// when something was told. What they give stands in react.d.ts. React is the page's own.

import { useCallback, useEffect, useRef, useState } from "react";

import { connectIncubator, connectMachine, connectPanel, connectRun } from "./client.js";

const OVER = ["completed", "failed", "cancelled"];

/** A client for as long as nothing of `parts` changes. begin(client): what else is to be done with it. */
function useClient(connect, parts, begin) {
  const [client, setClient] = useState(null);
  useEffect(() => {
    const made = connect();
    begin?.(made);
    setClient(made);
    return () => made.close();
  }, parts);
  return client;
}

/** Draw anew when a target tells one of these events, at most once a frame. */
function useEvents(target, types) {
  const [, draw] = useState(0);
  useEffect(() => {
    if (!target) return;
    let frame = 0;
    const told = () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        draw((count) => count + 1);
      });
    };
    for (const type of types) target.addEventListener(type, told);
    told(); // what was told before this effect
    return () => {
      cancelAnimationFrame(frame);
      for (const type of types) target.removeEventListener(type, told);
    };
  }, [target]);
}

/** How a client's connection stands. */
function useConnection(client) {
  const connection = client?.connection;
  useEvents(connection, ["state"]);
  const { state = "connecting", retryIn = null, reason = null } = connection ?? {};
  return { state, retryIn, reason };
}

const key = (options) => JSON.stringify(options, (_, value) => (typeof value === "function" ? "…" : value));

export function useMachine(path, { topic, ...options } = {}) {
  const [latest, setLatest] = useState(null);
  const client = useClient(
    () => connectMachine(path, options),
    [path, topic, key(options)],
    (made) => {
      if (topic === undefined) return;
      const followed = made.subscribe(topic);
      followed.addEventListener("push", ({ detail }) => setLatest(detail.value));
      followed.addEventListener("reset", () => setLatest(null));
    },
  );
  const ask = useCallback((input, each) => client.ask(input, each), [client]);
  return { client, ask, latest, connection: useConnection(client) };
}

export function usePanel(path, options = {}) {
  const client = useClient(() => connectPanel(path, options), [path, key(options)]);
  useEvents(client, ["change"]);
  const trigger = useCallback((...given) => client.trigger(...given), [client]);
  const { state = {}, status = null, tools = [] } = client ?? {};
  return { client, trigger, state, status, tools, connection: useConnection(client) };
}

export function useIncubator(path, { onEvent, ...options } = {}) {
  const hear = useRef(onEvent);
  hear.current = onEvent;
  const client = useClient(
    () => connectIncubator(path, options),
    [path, key(options)],
    (made) => made.addEventListener("event", ({ detail }) => hear.current?.(detail)),
  );
  useEvents(client, ["change"]);
  const publish = useCallback((...given) => client.publish(...given), [client]);
  const call = useCallback((...given) => client.call(...given), [client]);
  const { state = {}, claims = {}, metrics = null, stopped = null, isReplayed = false } = client ?? {};
  const connection = useConnection(client);
  return { client, publish, call, state, claims, metrics, stopped, isReplayed, connection };
}

/**
 * The hook of the protocol's first description, which keeps a store up to date. What is told anew after
 * a reconnection is told to the store once more; nothing is missing.
 */
export function useDAGStream(dagId, store, options = {}) {
  const client = useRef(null);
  useEffect(() => {
    const run = connectRun(`/api/dags/${encodeURIComponent(dagId)}/stream`, options);
    client.current = run;
    const hear = (type, tell) => run.addEventListener(type, ({ detail }) => tell(detail));
    hear("snapshot", (snapshot) => tellAll(store, snapshot));
    hear("node_state", ({ node_id: id, status, output, metrics }) =>
      store.updateNodeData(id, { status, output, metrics }));
    hear("cost_update", ({ spent, budget }) => store.setCostState({ spent, budget }));
    hear("dag_mutated", ({ mutation }) => store.applyMutation(mutation));
    hear("execution_complete", ({ results }) => store.setExecutionComplete(results));
    return () => run.close();
  }, [dagId, store]);
  const send = useCallback(({ type, ...fields }) => {
    const run = client.current;
    return type === "human_decision" ? run.decide(fields) : run.command(type, fields);
  }, []);
  return { send };
}

function tellAll(store, { run, nodes, cost }) {
  for (const [id, { status, output, metrics }] of Object.entries(nodes)) {
    store.updateNodeData(id, { status, output, metrics });
  }
  store.setCostState({ spent: cost.spent, budget: cost.budget });
  if (!OVER.includes(run.status)) return;
  const done = Object.entries(nodes).filter(([, { status }]) => status === "completed");
  store.setExecutionComplete(Object.fromEntries(done.map(([id, { output }]) => [id, output])));
}
