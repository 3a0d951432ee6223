// How a page's connection stands, said beside its heading: connected, reconnecting in n s, offline.

const SHOWN = { open: "connected", connecting: "reconnecting", waiting: "reconnecting", idle: "asleep" };

/** Tell the state of a client's connection in #connection, which is hidden where there is none. */
export function showStanding(connection, words) {
  const place = document.getElementById("connection");
  const [word, left] = place.children;
  let wasOpen = false;
  let countdown;

  const show = ({ state, retryIn }) => {
    clearInterval(countdown);
    wasOpen ||= state === "open";
    const isOffline = state === "waiting" && retryIn === null;
    const shown = isOffline ? "offline" : SHOWN[state];
    place.hidden = !shown || !(wasOpen || state === "waiting"); // nothing is said of the first attempt
    place.dataset.state = shown ?? "gone";
    if (word.textContent !== (words[shown] ?? "")) word.textContent = words[shown] ?? "";
    let seconds = Math.ceil(retryIn ?? 0);
    const tell = () => {
      left.textContent = seconds > 0 ? words.in.replace("{n}", seconds--) : "";
    };
    tell();
    if (seconds > 0) countdown = setInterval(tell, 1000);
  };

  connection.addEventListener("state", ({ detail }) => show(detail));
  show(connection);
}
