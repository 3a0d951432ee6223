/**
 * The browser client of mashin_surfaces: one connection each to a machine, a panel, a run or an
 * incubator, kept up and resumed by itself (docs/browser.md).
 */

// -- connections ---------------------------------------------------------------------------------

/**
 * - connecting: an attempt is under way.
 * - open: frames go both ways.
 * - waiting: it was lost; the next attempt comes in `retryIn` seconds, or, with null, as soon as the
 *   browser is online again.
 * - idle: a machine's server closed it because nobody said anything; the next question opens it.
 * - refused: the server does not let us in (`reason`); only `reconnect()` tries again.
 * - closed: by `close()`, or what it led to is gone (`reason`).
 */
export type ConnectionState = "connecting" | "open" | "waiting" | "idle" | "refused" | "closed";

export interface ConnectionStatus {
  readonly state: ConnectionState;
  /** Seconds until the next attempt, when `state` is waiting. */
  readonly retryIn: number | null;
  /** Why it is not open, as far as that is known. */
  readonly reason: Refusal | null;
}

/**
 * Why something was not done. `code` is one of the server's (docs/governance.md; in panels in capital
 * letters), or one of the client's own:
 * - lost: the connection broke before the answer came. It may have been carried out.
 * - busy: too much waits already.
 * - closed: the connection was closed.
 * - offline: the browser says that there is no network.
 */
export class Refusal extends Error {
  readonly code: string;
  /** The HTTP status, when a request told why an upgrade was refused. */
  readonly status?: number;
  readonly details?: readonly { path?: string; code?: string; message?: string }[];
  /** Seconds. */
  readonly retryAfter?: number;
  /** What the server calls the request in its records. */
  readonly requestId?: string;
}

/** Events whose `detail` is known by their names. */
export interface TypedEventTarget<Events>
  extends Omit<EventTarget, "addEventListener" | "removeEventListener"> {
  addEventListener<Name extends keyof Events & string>(
    type: Name,
    listener: ((event: CustomEvent<Events[Name]>) => void) | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Name extends keyof Events & string>(
    type: Name,
    listener: ((event: CustomEvent<Events[Name]>) => void) | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

/** A websocket that is opened again when it was lost: after 1, 2, 4 … 30 s at most, with full jitter. */
export interface Connection
  extends TypedEventTarget<{ state: ConnectionStatus }>, ConnectionStatus {
  /** Now and anew, whatever the state is. What was sent and not answered is refused as lost. */
  reconnect(): void;
  /** For good. */
  close(): void;
}

/** A JWT or an API key; a function is asked before each attempt and when a JWT is about to expire. */
export type Token = string | (() => string | null | Promise<string | null>);

export interface Options {
  token?: Token;
  /** More for the address: `?name=value`. */
  query?: Readonly<Record<string, string | number>>;
  /** How frames are read; `JSON.parse` if nothing is said. */
  parse?: (text: string) => any;
  /** How many messages wait for a connection; more are refused as busy. 32 if nothing is said. */
  maxWaiting?: number;
  /** Seconds of silence after which the server is asked whether it is there (25); a third of that
   * later the connection is given up. */
  heartbeat?: number;
}

/** Where to go on: an offset and the epoch of its log. */
export interface Position {
  since?: number;
  epoch?: string;
}

/** What all clients have. */
export interface Client {
  readonly connection: Connection;
  /** Close the connection for good; what waits for an answer is refused. */
  close(): void;
}

// -- machines ------------------------------------------------------------------------------------

/** The machine dialect in its envelope (subprotocol mashin.v1). */
export function connectMachine<Input = any, Output = any>(
  path: string,
  options?: Options,
): MachineClient<Input, Output>;

export interface MachineClient<Input = any, Output = any>
  extends Client, TypedEventTarget<{ error: Refusal }> {
  /**
   * Ask once. `input`: an object, or JSON text of one, which goes as it is, digits and all. `each` is
   * told every result of a machine that streams, and the promise has the last one; without it the
   * promise has the first. Nothing is sent twice: what was cut off is refused as lost.
   */
  ask(input: Input | string, each?: (output: Output) => void): Promise<Output>;
  /** Follow a topic, after a position if one is given, until `close()`, or until it is followed anew. */
  subscribe(topic: string, position?: Position): Subscription<Output>;
}

export interface Subscription<Output = any>
  extends TypedEventTarget<{
    /** The server tells the topic now; `recovered`: nothing was missed since the last push. */
    subscribed: { offset: number; epoch: string; recovered: boolean };
    /** `offset` is null where nothing is kept. Each offset comes once, in order. */
    push: { value: Output; offset: number | null; epoch: string };
    /** The log was cleared. */
    reset: { offset: number; epoch: string };
    /** It is followed no more, or not yet: with `retryAfter` it is asked for again by itself. */
    refused: Refusal;
  }> {
  readonly topic: string;
  readonly isFollowing: boolean;
  readonly offset: number | null;
  readonly epoch: string | undefined;
  close(): void;
}

// -- panels --------------------------------------------------------------------------------------

/** The panel dialect: `/panels/<id>/ws`, or a machine's websocket with `dialect: panel`. */
export function connectPanel<State extends object = Record<string, any>>(
  path: string,
  options?: Options & Position,
): PanelClient<State>;

export interface StateMutation {
  op: "set" | "delete";
  /** A top-level key, or a JSON Pointer when it begins with a slash. */
  key: string;
  value?: any;
}

export interface PanelEvent {
  name: string;
  payload: any;
  /** Milliseconds since 1970. */
  timestamp: number;
}

export interface ExecutionResult {
  status: "success" | "suspended" | "error";
  returnValue?: any;
  stateMutations: StateMutation[];
  events: PanelEvent[];
  viewCommands: any[];
  suspension?: { suspensionId: string; extensionName: string; method: string; args: any };
  error?: { code: string; message: string; location?: any };
  metrics: {
    executionTimeUs: number;
    memoryUsedBytes: number;
    memoryPeakBytes: number;
    hostCalls: number;
    cacheHit: boolean;
  };
}

export interface PanelProgress {
  suspensionId: string | null;
  requestId?: string;
  status: string;
  data?: any;
}

export interface PanelEvents {
  /** A view of the panel begins; `recovered`: what was missed follows, else `state` is all of it. */
  connected: { recovered: boolean };
  patch: { mutations: StateMutation[]; offset: number; requestId?: string; by?: string };
  event: { event: PanelEvent; offset: number; requestId?: string };
  /** Of a trigger, also the ones that a `trigger()` does not wait for any more. */
  result: { requestId?: string; result: ExecutionResult };
  progress: PanelProgress;
  status: { status: string };
  /** A patch or an event of the log, each once, in order. */
  entry: { type: "patch" | "event"; offset: number; [field: string]: any };
  /** A refusal that answers nothing that is waited for. */
  error: Refusal;
  /** Something was told; `state`, `status` or `tools` may not be what they were. */
  change: null;
}

export interface TriggerOptions {
  /** The same one within ten minutes is carried out once. */
  requestId?: string;
  /** Only when the panel is at this offset, else CONFLICT. */
  expect?: number;
  /** Told what the tool tells meanwhile, and that it is suspended. */
  progress?: (told: PanelProgress | ExecutionResult) => void;
}

export interface PanelClient<State extends object = Record<string, any>>
  extends Client, TypedEventTarget<PanelEvents> {
  readonly panelId: string | null;
  /** As its patches tell it: a new object with each of them. */
  readonly state: State;
  readonly status: string | null;
  readonly tools: readonly string[];
  readonly offset: number | null;
  readonly epoch: string | null;
  /**
   * Run a tool. The result is the last one: of a tool that was suspended it comes when that was
   * answered. A tool that failed has a result with the status error; the promise is refused only when
   * it could not be run. After a reconnection it is sent again with its requestId, and carried out
   * once.
   */
  trigger(tool: string, args?: any, options?: TriggerOptions): Promise<ExecutionResult>;
  /** Answer a suspension, with a value or with an error. */
  resume(suspensionId: string, value?: any, error?: string): Promise<void>;
  /** End a trigger of one's own; its promise has what came of it. */
  cancel(requestId: string): void;
}

// -- runs ----------------------------------------------------------------------------------------

/** The run dialect: `/api/dags/<id>/stream`, or a machine's websocket with `dialect: dag`. */
export function connectRun(path: string, options?: Options & Position): RunClient;

export type NodeStatus =
  | "pending" | "scheduled" | "running" | "completed" | "failed" | "retrying" | "paused" | "skipped"
  | "mutated" | "cancelled";

export type RunStatus =
  | "running" | "pausing" | "paused" | "cancelling" | "cancelled" | "completed" | "failed";

export type RunOutcome = "completed" | "failed" | "cancelled" | "timeout" | "budget_exceeded";

export interface NodeMetrics {
  duration_ms?: number;
  retries?: number;
  input_tokens?: number;
  output_tokens?: number;
  tokens_used?: number;
  cost_usd?: number;
  model_used?: string;
}

export interface NodeState {
  status: NodeStatus;
  attempt?: number;
  output?: any;
  metrics?: NodeMetrics;
  error?: any;
  reason?: string;
}

export interface RunNode extends NodeState {
  needs: string[];
  title: string;
}

export interface Cost {
  spent: number;
  budget: number | null;
  remaining: number | null;
  currency?: string;
}

export interface GatePresentation {
  gate_id: string;
  revision: number;
  title: string;
  context: any;
  question: string;
  output: any;
  confidence?: number;
  cost: Cost;
  remaining_nodes: number;
  options: { id: string; label: string; decision: string }[];
  gate_class: "irreversible" | "quality" | "calibration";
  expires_at: string;
  on_timeout: string;
}

export interface Gate {
  node_id: string;
  presentation: GatePresentation;
}

export interface DAGMutation {
  id?: string;
  kind: string;
  nodes_added?: any[];
  nodes_removed?: string[];
  nodes_changed?: any[];
  edges_added?: [string, string][];
  edges_removed?: [string, string][];
  reason?: string;
  by?: string;
  topology_version?: number;
}

/** A run as its log tells it: a new object with each entry. `nodes` stays the same object, in which
 * what has changed is exchanged: a run may have 10,000 of them. */
export interface RunSnapshot {
  readonly run: { id: string; machine: string; status: RunStatus; started_at: string };
  readonly nodes: Readonly<Record<string, RunNode>>;
  readonly edges: readonly [string, string][];
  readonly cost: Cost;
  readonly open_gates: readonly Gate[];
  readonly topology_version: number;
  readonly offset: number;
  readonly epoch: string;
  /** When it has ended. */
  readonly outcome?: RunOutcome;
  readonly results?: Readonly<Record<string, any>>;
}

interface Logged {
  offset: number;
  at: string;
}

export interface RunEvents {
  /** The whole run: at first, when what was missed is not there any more, and when its graph changed. */
  snapshot: RunSnapshot;
  node_state: Logged & NodeState & { node_id: string };
  edge_active: Logged & { from: string; to: string };
  human_gate_waiting: Logged & Gate;
  gate_decided: Logged & {
    node_id: string; gate_id: string; decision: string; by: string; feedback?: string;
  };
  cost_update: Logged & Cost & { node_id?: string };
  budget_warning: Logged & { spent: number; budget: number; remaining: number; share: number };
  dag_mutated: Logged & { mutation: DAGMutation };
  run_state: Logged & { status: RunStatus; by?: string };
  execution_complete: Logged & {
    results: Record<string, any>; outcome: RunOutcome; metrics?: any;
  };
  /** Of the run, with an `offset`; or a refusal that answers nothing that is waited for. */
  error: Refusal | (Logged & { code: string; message: string; node_id?: string });
  /** Each message of the log once, in order, whatever its type. */
  entry: Logged & { type: string; [field: string]: any };
  /** Something was told: `snapshot` is not what it was. */
  change: null;
}

export interface HumanDecision {
  /** One of these two. */
  node_id?: string;
  gate_id?: string;
  decision: "approve" | "reject" | "modify";
  feedback?: string;
  /** Of the presentation on which the decision rests. */
  revision?: number;
  scope?: "node" | "phase" | "abort";
  option_id?: string;
}

export interface RunClient extends Client, TypedEventTarget<RunEvents> {
  /** Null until it was told. */
  readonly snapshot: RunSnapshot | null;
  /** Sent again after a reconnection, with the same ref: it counts once. */
  decide(decision: HumanDecision): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  cancel(): Promise<void>;
  /** Change the graph as it is in `snapshot`, or in the version that is given. */
  mutate(mutation: DAGMutation, topologyVersion?: number): Promise<void>;
}

// -- incubators ----------------------------------------------------------------------------------

/** The incubator dialect: a machine's websocket with `dialect: incubator`. */
export function connectIncubator(path: string, options?: IncubatorOptions): IncubatorClient;

export interface IncubatorOptions extends Options, Position {
  namespace?: string;
  /** Globs of the events that are wanted; all, if nothing is said. */
  types?: readonly string[];
  agentId?: string;
  role?: string;
}

export interface BusEvent {
  id: number;
  event_type: string;
  data: any;
  agent_id: string;
  timestamp: string;
  epoch: string;
}

export interface Claim {
  id: number;
  resource: string;
  owner: string;
  fence: number;
  status: "claimed" | "renewed" | "released" | "expired";
}

export interface BusMetrics {
  totalTokens: number;
  totalCost: number;
  agentCount: number;
  eventCounts: Record<string, number>;
}

export type BusCommand = "halt" | "pause" | "resume";

export interface IncubatorEvents {
  event: BusEvent;
  state_changed: {
    id: number; key: string; value: any; agent_id: string; version: number; deleted?: boolean;
  };
  claim_changed: Claim;
  control: { id: number; command: BusCommand; reason: string; by: string; target?: string };
  /** All that was kept, or missed, has been told. */
  replay_done: { cursor: number; epoch: string };
  /** What was missed is not there any more: `state` comes next, and `claims` begin anew. */
  gap: { from: number; to: number; epoch: string };
  state: { state: Record<string, any>; cursor: number };
  dance_tools: { tools: { name: string; description: string }[] };
  metrics: BusMetrics;
  reset: { epoch: string; by: string };
  /** A refusal that answers nothing that is waited for. */
  error: Refusal;
  /** Each message of the log once, in order, whatever its type. */
  entry: { type: string; id: number; [field: string]: any };
  /** Something was told; `state`, `claims`, `stopped`, `tools` or `metrics` may not be what they were. */
  change: null;
}

export interface IncubatorClient extends Client, TypedEventTarget<IncubatorEvents> {
  /** As the log tells it; values are exchanged in place. */
  readonly state: Readonly<Record<string, any>>;
  /** Who has claimed what, as far as the log was told: with `since` only what was claimed after it. */
  readonly claims: Readonly<Record<string, Claim>>;
  /** What stops everybody, as far as the log was told; null when nothing does. */
  readonly stopped: IncubatorEvents["control"] | null;
  readonly tools: readonly { name: string; description: string }[];
  readonly metrics: BusMetrics | null;
  /** The id of the last entry, and its epoch. */
  readonly offset: number | null;
  readonly epoch: string | null;
  /** Whether all that was kept, or missed, has been told. */
  readonly isReplayed: boolean;
  /**
   * An event for everybody; its id. This, and all that follows but `reset`, is sent again after a
   * reconnection, and done once: each has a callId of its own.
   */
  publish(event: string, data?: any, options?: { agentId?: string }): Promise<number>;
  /** What a tool answers; a tool that failed refuses the promise. */
  call(
    tool: string,
    args?: Record<string, any>,
    options?: { agentId?: string; role?: string; callId?: string },
  ): Promise<any>;
  /** The version; `ifVersion` 0: only when the key is not there. */
  setState(key: string, value: any, options?: { ifVersion?: number }): Promise<number>;
  deleteState(key: string): Promise<void>;
  /** The fence; without `ttlMs` until it is released. */
  claim(resource: string, options?: { ttlMs?: number }): Promise<number>;
  release(resource: string): Promise<void>;
  /** The event, or the control, that came after what was told here, or after the id `since`; null
   * when the time was over. */
  wait(
    options: ({ types: readonly string[] } | { delayMs: number }) &
      { timeoutMs?: number; since?: number },
  ): Promise<{ id: number; type: string; [field: string]: any } | null>;
  control(command: BusCommand, reason?: string, options?: { target?: string }): Promise<void>;
  /** Other types from now on; null for all. */
  subscribe(types: readonly string[] | null): void;
  /** Clear log, state and claims. */
  reset(): Promise<void>;
}
