// What a refusal says to people. The server's says it itself; what the client refuses, of which the
// server knows nothing, is said in the visitor's language.

export const sentenceOf = ({ code, message, requestId, callId }, { refusals }) =>
  requestId || callId ? message : (refusals[code] ?? message);
