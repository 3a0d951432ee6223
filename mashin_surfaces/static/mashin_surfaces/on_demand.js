// Libraries that a page loads when it needs them: modules that import nothing themselves. A browser may
// keep, for as long as the page is open, that a module was not to be had (the HTML Standard's module map),
// so each further try is for an address of its own.

const SOON = 1000; // milliseconds from the first try to the second,
const LATE = 60000; // ... and from one to the next at most

const loading = new Map();
const isThere = new Promise((resolve) => {
  if (document.readyState === "complete") resolve();
  else addEventListener("load", resolve, { once: true });
});

/** The module at this path from here, once the page is there and the server has it to give. */
export function onDemand(path) {
  if (!loading.has(path)) loading.set(path, load(path));
  return loading.get(path);
}

async function load(path) {
  await isThere;
  for (let again = 0; ; again++) {
    try {
      return await import(again ? `${path}?again=${again}` : path);
    } catch {
      const pause = Math.min(SOON * 2 ** again, LATE);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}
