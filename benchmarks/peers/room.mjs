// The room peer on Node: one process, the package `ws`, every message to every member.
// node room.mjs PORT
import { WebSocketServer, WebSocket } from "ws";

const server = new WebSocketServer({ port: Number(process.argv[2]), host: "127.0.0.1" });
const members = new Set();

server.on("connection", (socket, request) => {
  if (request.url === "/ws/publish") {
    socket.on("message", (data) => {
      for (const member of members) {
        if (member.readyState === WebSocket.OPEN) member.send(data, { binary: false });
      }
      socket.send("{}");
    });
  } else {
    members.add(socket);
    socket.on("close", () => members.delete(socket));
  }
});
