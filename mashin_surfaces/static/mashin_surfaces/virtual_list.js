// A list of which only the rows in view, and some around them, are in the document: ten thousand items
// cost no more than fifty. Rows are as high as their text makes them: those that were drawn are measured,
// the others taken to be as high as these on average. What is read stays where it is while items come and
// go above it. Needs of the stylesheet: a list that scrolls, whose ::before and ::after are --above and
// --below high.

const AROUND = 600; // pixels beyond each edge of the view in which rows are drawn, too

export class VirtualList {
  #list;
  #draw;
  #moved;
  #given = [];
  #items = []; // as they are shown, the first one on top
  #tops = [0]; // pixels from the first row's top to each row's top, and to the end
  #rows = new Map(); // item → its row in the document
  #heights = new WeakMap(); // item → pixels, once its row was drawn
  #read = null; // what is at the upper edge of the view, unless that is the top or the end
  #left = 0; // where the list was scrolled to
  #average = 32;
  #width = 0;
  #frame = 0;

  /** draw(item): its row, an element for the list. moved(): told after somebody has scrolled. */
  constructor(list, draw, moved = () => {}) {
    this.#list = list;
    this.#draw = draw;
    this.#moved = moved;
    list.setAttribute("role", "list"); // some browsers take that away together with the numbers
    list.replaceChildren();
    list.addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#soon()).observe(list, { box: "border-box" });
  }

  get isAtTop() {
    return this.#list.scrollTop <= 0;
  }

  toTop() {
    this.#list.scrollTop = 0;
  }

  /** Show these objects, the last one on top. */
  show(items) {
    const { scrollTop, clientHeight, clientWidth, scrollHeight } = this.#list;
    const isAtTop = scrollTop <= 0;
    const isAtEnd = !isAtTop && scrollTop + clientHeight >= scrollHeight - 1;
    // Where it was left, since browsers round: else what is read would creep away.
    if (scrollTop !== this.#left) this.#read = isAtTop || isAtEnd ? null : this.#at(scrollTop);
    const read = this.#read;
    if (clientWidth !== this.#width) this.#heights = new WeakMap(); // lines break elsewhere
    this.#width = clientWidth;
    this.#given = items;
    this.#items = items.toReversed();
    let isMeasured;
    do { // heights that were not known make more room, or less
      this.#reckon();
      const lowest = Math.max(0, this.#tops.at(-1) - clientHeight);
      const place = read ? this.#items.indexOf(read.item) : -1;
      let top = Math.min(scrollTop, lowest);
      if (isAtTop) top = 0;
      else if (isAtEnd) top = lowest;
      else if (place >= 0) top = this.#tops[place] + read.past;
      isMeasured = this.#place(top - AROUND, top + clientHeight + AROUND);
      if (Math.abs(this.#list.scrollTop - top) >= 1) this.#list.scrollTop = top;
    } while (isMeasured);
    this.#left = this.#list.scrollTop;
  }

  #soon() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.show(this.#given);
      this.#moved();
    });
  }

  /** The item at a place of the list as it is shown, and how many pixels of it are `past` that. */
  #at(top) {
    const after = this.#tops.findIndex((each) => each > top);
    return after > 0 ? { item: this.#items[after - 1], past: top - this.#tops[after - 1] } : null;
  }

  #reckon() {
    let top = 0;
    this.#tops = [0];
    for (const item of this.#items) {
      top += this.#heights.get(item) ?? this.#average;
      this.#tops.push(top);
    }
  }

  /** Have the rows between two places in the document, and no others; whether one was measured. */
  #place(from, to) {
    const first = Math.max(0, this.#tops.findIndex((top) => top > from) - 1);
    const beyond = this.#tops.findIndex((top) => top >= to);
    const last = beyond < 0 ? this.#items.length : Math.min(beyond, this.#items.length);
    const wanted = new Set(this.#items.slice(first, last));
    for (const [item, row] of this.#rows) {
      if (wanted.has(item)) continue;
      row.remove();
      this.#rows.delete(item);
    }
    let next = this.#list.firstChild;
    let position = first;
    for (const item of wanted) {
      const row = this.#rows.get(item) ?? this.#draw(item);
      this.#rows.set(item, row);
      row.setAttribute("aria-setsize", this.#items.length);
      row.setAttribute("aria-posinset", (position += 1));
      if (row === next) next = row.nextSibling;
      else this.#list.insertBefore(row, next);
    }
    this.#list.style.setProperty("--above", `${this.#tops[first]}px`);
    this.#list.style.setProperty("--below", `${this.#tops.at(-1) - this.#tops[last]}px`);
    return this.#measure();
  }

  #measure() {
    if (!this.#width) return false; // nobody sees it
    const unknown = [...this.#rows].filter(([item]) => !this.#heights.has(item));
    let sum = 0;
    for (const [item, row] of unknown) {
      const { height } = row.getBoundingClientRect();
      this.#heights.set(item, height);
      sum += height;
    }
    if (sum) this.#average = sum / unknown.length;
    return unknown.length > 0;
  }
}
