/** React hooks (React 18 or later) on top of client.js (docs/browser.md). */

import type {
  BusEvent, BusMetrics, Claim, ConnectionStatus, DAGMutation, ExecutionResult, HumanDecision,
  IncubatorClient, IncubatorEvents, IncubatorOptions, MachineClient, NodeMetrics, NodeStatus, Options,
  PanelClient, Position, TriggerOptions,
} from "./client.js";

/** What a run's hook tells; as the protocol's first description has it. */
export interface DAGStore {
  updateNodeData(
    nodeId: string,
    data: { status: NodeStatus; output?: any; metrics?: NodeMetrics },
  ): void;
  setCostState(cost: { spent: number; budget: number | null }): void;
  applyMutation(mutation: DAGMutation): void;
  setExecutionComplete(results: Record<string, any>): void;
}

export type ClientEvent =
  | ({ type: "human_decision" } & HumanDecision)
  | { type: "pause_execution" }
  | { type: "resume_execution" }
  | { type: "cancel_execution" };

/**
 * Keeps a store as a run is, whatever happens to the connection. `store` is the same object from one
 * drawing to the next. `send` promises that the message was carried out.
 */
export function useDAGStream(
  dagId: string,
  store: DAGStore,
  options?: Options,
): { send(event: ClientEvent): Promise<void> };

/** `latest`: the last result of `topic`, if one is given. `ask` can be called once `client` is there. */
export function useMachine<Input = any, Output = any>(
  path: string,
  options?: Options & { topic?: string },
): {
  client: MachineClient<Input, Output> | null;
  ask: MachineClient<Input, Output>["ask"];
  latest: Output | null;
  connection: ConnectionStatus;
};

export function usePanel<State extends object = Record<string, any>>(
  path: string,
  options?: Options & Position,
): {
  client: PanelClient<State> | null;
  trigger(tool: string, args?: any, options?: TriggerOptions): Promise<ExecutionResult>;
  state: State;
  status: string | null;
  tools: readonly string[];
  connection: ConnectionStatus;
};

/** `onEvent` is told every event once, in order. */
export function useIncubator(
  path: string,
  options?: IncubatorOptions & { onEvent?: (event: BusEvent) => void },
): {
  client: IncubatorClient | null;
  publish: IncubatorClient["publish"];
  call: IncubatorClient["call"];
  state: Readonly<Record<string, any>>;
  claims: Readonly<Record<string, Claim>>;
  metrics: BusMetrics | null;
  stopped: IncubatorEvents["control"] | null;
  isReplayed: boolean;
  connection: ConnectionStatus;
};
