// The page that is shown, as the server has it by now.

export class FreshPage {
  #asked = 0; // times that it was asked for,
  #given = 0; // ... and the latest of which the answer counts

  /** As a document; null when it is not to be had, undefined when what was asked for later is there. */
  async ask() {
    const own = (this.#asked += 1);
    const page = await fetched().catch(() => null);
    if (own < this.#given) return undefined;
    if (page) this.#given = own;
    return page;
  }

  /** What is on its way does not count any more. */
  forget() {
    this.#given = this.#asked + 1;
  }
}

async function fetched() {
  const answer = await fetch(location.href, { cache: "no-store", redirect: "error" });
  return answer.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
}
