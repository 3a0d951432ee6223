// What the admin's pages do beyond HTML: line numbers, a way to the place of a problem, filters that
// send themselves, a button that copies. Every page works without it.

for (const area of document.querySelectorAll("textarea.mashin-source")) {
  number(area);
}
for (const problem of document.querySelectorAll("span.mashin-problem")) {
  lead(problem);
}
for (const select of document.querySelectorAll("[data-mashin-submit]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}
for (const field of document.querySelectorAll("[data-mashin-copy]")) {
  offerCopy(field);
}

// Numbers beside a text area, which scroll with it.
function number(area) {
  const editor = document.createElement("div");
  const numbers = document.createElement("pre");
  let shown = 0;
  editor.className = "mashin-editor";
  numbers.className = "mashin-lines";
  numbers.setAttribute("aria-hidden", "true");
  area.replaceWith(editor);
  editor.append(numbers, area);

  const follow = () => { numbers.scrollTop = area.scrollTop; };
  const count = () => {
    const lines = area.value.split("\n").length;
    if (lines !== shown) {
      // One line more than there is: where the text area has a scroll bar, it scrolls further.
      numbers.textContent = Array.from({ length: lines }, (_, index) => index + 1).join("\n") + "\n\n";
      shown = lines;
    }
    follow();
  };
  area.addEventListener("input", count);
  area.addEventListener("scroll", follow);
  count();
}

// A problem becomes a button that puts the cursor where the problem is.
function lead(problem) {
  const area = document.querySelector("textarea.mashin-source");
  if (area === null) {
    return;
  }
  const button = document.createElement("button");
  button.type = "button";
  button.className = "mashin-problem";
  button.textContent = problem.textContent;
  button.addEventListener("click", () => {
    const line = Number(problem.dataset.line) - 1;
    const before = area.value.split("\n").slice(0, line);
    const at = before.reduce((length, text) => length + text.length + 1, 0) + Number(problem.dataset.column) - 1;
    area.focus();
    area.setSelectionRange(at, at);
    const height = parseFloat(getComputedStyle(area).lineHeight);
    area.scrollTop = Math.max(0, line * height - area.clientHeight / 2);
    area.scrollIntoView({ block: "nearest" });
  });
  problem.replaceWith(button);
}

// The browser lets pages copy over https and on this computer alone; elsewhere the text is selected.
function offerCopy(field) {
  field.addEventListener("focus", () => field.select());
  if (!navigator.clipboard) {
    return;
  }
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = field.dataset.mashinCopy;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(field.value);
      button.textContent = field.dataset.mashinCopied;
    } catch {
      field.focus();
    }
  });
  field.after(button);
}
