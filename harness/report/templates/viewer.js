"use strict";
// Shows what model checkpoints wrote. All of it is text: it reaches the page through text nodes only.
(() => {
  const PAGE = 100;
  const LONGEST_EDIT = 1500;
  const TIER = 0, CODE = 1, OUTPUT = 2, FAILS_AT = 3, REASON = 4, TOKENS = 5, NDCG = 6, PROMPT = 7, REASONING = 8;
  const INVISIBLE = /(?![\n ])[\p{C}\p{Z}]/gu;
  const LABELS = {
    broken: "broken", fixed: "fixed", both_fail: "both fail", both_pass: "both pass",
    fail: "fails", pass: "passes", withheld: "withheld",
  };

  const viewer = document.getElementById("viewer");
  const form = viewer.querySelector("form");
  const fields = form.elements;
  const list = viewer.querySelector("ul");
  const more = viewer.querySelector(".more");
  const detail = viewer.querySelector(".detail");
  const count = viewer.querySelector(".count");
  let data, found = [], shown = 0, chosen = -1;

  async function inflate(base64) {
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).text();
  }

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) append(node, text);
    return node;
  }

  // Text with every invisible or reordering character written out.
  function append(parent, text) {
    let at = 0;
    for (const match of text.matchAll(INVISIBLE)) {
      if (match.index > at) parent.append(text.slice(at, match.index));
      const code = match[0].codePointAt(0), hex = code.toString(16);
      const escaped = code < 0x100 ? "\\x" + hex.padStart(2, "0")
        : code < 0x10000 ? "\\u" + hex.padStart(4, "0") : "\\U" + hex.padStart(8, "0");
      const span = document.createElement("span");
      span.className = "esc";
      span.textContent = escaped;
      parent.append(span);
      at = match.index + match[0].length;
    }
    if (at < text.length) parent.append(text.slice(at));
  }

  const joined = (output) => typeof output === "string" ? output
    : output.filter((piece) => typeof piece === "string").join("");
  const verdict = (answer) => answer[CODE] < 0 ? data.tiers[answer[TIER]] : data.codes[answer[CODE]];

  function outcome(row) {
    const [a, b] = [row[2][+fields.a.value], row[2][+fields.b.value]];
    if ([a, b].some((answer) => answer && data.codes[answer[CODE]] === "withheld")) return "withheld";
    if (!a || !b || fields.a.value === fields.b.value) {
      const there = a || b;
      return there ? (there[CODE] < 0 ? "pass" : "fail") : null;
    }
    if (a[CODE] < 0) return b[CODE] < 0 ? "both_pass" : "broken";
    return b[CODE] < 0 ? "fixed" : "both_fail";
  }

  function haystack(row) {
    if (row.haystack === undefined) {
      const parts = [row[0]];
      for (const answer of row[2]) {
        if (!answer) continue;
        parts.push(joined(answer[OUTPUT]), data.texts[answer[REASON]]);
        if (answer[PROMPT] >= 0) parts.push(data.texts[answer[PROMPT]]);
      }
      row.haystack = parts.join("\n").toLowerCase();
    }
    return row.haystack;
  }

  function filter() {
    const wanted = fields.outcome.value, code = fields.code.value;
    const task = fields.task.value.trim().toLowerCase(), words = fields.search.value.trim().toLowerCase();
    const tally = {};
    found = data.rows.filter((row) => {
      const kind = outcome(row);
      if (kind === null) return false;
      const answers = [row[2][+fields.a.value], row[2][+fields.b.value]];
      if (code !== "" && !answers.some((answer) => answer && answer[CODE] === +code)) return false;
      if (task && !row[0].toLowerCase().includes(task)) return false;
      if (words && !haystack(row).includes(words)) return false;
      tally[kind] = (tally[kind] || 0) + 1;
      return wanted === "" || kind === wanted;
    });
    const parts = Object.keys(LABELS).filter((kind) => tally[kind])
      .map((kind) => `${LABELS[kind]} ${tally[kind].toLocaleString("en")}`);
    count.textContent = `${found.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} shown samples`
      + (parts.length ? ` (${parts.join(", ")})` : "");
    list.replaceChildren();
    shown = 0;
    grow();
    choose(found.length ? 0 : -1, false);
  }

  function grow() {
    const rows = found.slice(shown, shown + PAGE);
    for (const row of rows) {
      const item = document.createElement("li"), button = make("button");
      const place = shown++;
      button.type = "button";
      button.tabIndex = place ? -1 : 0;
      button.append(make("span", "", row[0] + (row[1] ? ` #${row[1]}` : "")), make("span", "tag", LABELS[outcome(row)]));
      const codes = pair(row).map(([, answer]) => verdict(answer)).join(" → ");
      button.append(make("small", "", codes));
      button.addEventListener("click", () => choose(place, true));
      item.append(button);
      list.append(item);
    }
    more.hidden = shown >= found.length;
  }

  function pair(row) {
    const numbers = [...new Set([+fields.a.value, +fields.b.value])];
    return numbers.filter((number) => row[2][number]).map((number) => [number, row[2][number]]);
  }

  function choose(place, focus) {
    const buttons = list.querySelectorAll("button");
    if (buttons[chosen]) { buttons[chosen].removeAttribute("aria-current"); buttons[chosen].tabIndex = -1; }
    chosen = place;
    detail.replaceChildren();
    if (place < 0) { detail.append(make("p", "note", "No sample matches.")); return; }
    while (place >= shown) grow();
    const button = list.querySelectorAll("button")[place];
    button.setAttribute("aria-current", "true");
    button.tabIndex = 0;
    if (focus) button.focus();
    show(found[place]);
  }

  function show(row) {
    const heading = make("h3");
    heading.append(make("code", "", row[0]), row[1] ? ` sample ${row[1]} ` : " ", make("span", "tag", LABELS[outcome(row)]));
    detail.append(heading);
    const answers = pair(row);
    const texts = answers.map(([, answer]) => Array.from(joined(answer[OUTPUT])));
    const marks = texts.length === 2 ? difference(texts[0], texts[1]) : texts.map((text) => new Uint8Array(text.length));
    answers.forEach(([number, answer], side) => {
      const line = make("p", "answer");
      line.append(make("b", "", data.runs[number]), " ", verdict(answer));
      const facts = [];
      if (data.texts[answer[REASON]]) facts.push(data.texts[answer[REASON]]);
      if (answer[NDCG] !== null) facts.push(`NDCG@1 ${answer[NDCG].toFixed(3)}`);
      if (answer[TOKENS] !== null) facts.push(`${answer[TOKENS]} tokens`);
      if (answer[FAILS_AT] >= 0) facts.push(`leaves the contract at the boxed character`);
      line.append(" ", make("span", "hint", facts.join(" · ")));
      const output = make("pre");
      output.dataset.run = data.runs[number];
      draw(output, answer, texts[side], marks[side]);
      detail.append(line);
      if (answer.length > REASONING) {
        const box = make("details", "data");
        const tokens = answer[REASONING + 1];
        box.append(make("summary", "", tokens === null ? "Reasoning" : `Reasoning, ${tokens} tokens`));
        box.append(make("pre", "prompt", data.texts[answer[REASONING]]));
        detail.append(box);
      }
      detail.append(output);
    });
    const prompts = new Map();
    for (const [number, answer] of answers) {
      if (answer[PROMPT] < 0) continue;
      const names = prompts.get(answer[PROMPT]) || [];
      prompts.set(answer[PROMPT], [...names, data.runs[number]]);
    }
    for (const [number, names] of prompts) {
      const box = make("details", "data");
      box.open = prompts.size === 1;
      box.append(make("summary", "", prompts.size === 1 ? "Prompt" : `Prompt of ${names.join(", ")}`));
      box.append(make("pre", "prompt", data.texts[number]));
      detail.append(box);
    }
    if (!prompts.size) detail.append(make("p", "note", "The prompt can't be shown: see the note above."));
  }

  function draw(parent, answer, text, differs) {
    const gaps = new Map();
    let at = 0;
    for (const piece of typeof answer[OUTPUT] === "string" ? [answer[OUTPUT]] : answer[OUTPUT]) {
      if (typeof piece === "number") gaps.set(at, piece);
      else at += Array.from(piece).length;
    }
    const fails = answer[FAILS_AT];
    let first = 0;
    const flush = (last) => {
      if (last === first) return;
      const part = text.slice(first, last).join("");
      const marked = differs[first], failing = first === fails;
      if (marked || failing) {
        const mark = make("mark", [failing && "fails", marked && "differs"].filter(Boolean).join(" "), part);
        if (failing) mark.title = "the contract is left here";
        parent.append(mark);
      } else append(parent, part);
      first = last;
    };
    for (let place = 0; place <= text.length; place++) {
      const cut = place === fails || place === fails + 1 || gaps.has(place) || (place && differs[place] !== differs[place - 1]);
      if (cut || place === text.length) flush(place);
      if (gaps.has(place)) parent.append(make("span", "gap", `… ${gaps.get(place).toLocaleString("en")} characters left out …`));
    }
    if (fails === text.length) {
      const mark = make("mark", "fails", "(end)");
      mark.title = "the text ends before the contract is kept";
      parent.append(mark);
    }
    if (!text.length && fails !== 0) parent.append(make("span", "gap", "(empty)"));
  }

  // Myers, "An O(ND) difference algorithm" (Algorithmica 1, 1986): 1 where the other text lacks the character.
  function difference(a, b) {
    const marks = [new Uint8Array(a.length), new Uint8Array(b.length)];
    let start = 0, endA = a.length, endB = b.length;
    while (start < endA && start < endB && a[start] === b[start]) start++;
    while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) { endA--; endB--; }
    const n = endA - start, m = endB - start, most = Math.min(n + m, LONGEST_EDIT), trace = [];
    let reach = new Int32Array(2 * most + 3), end = -1;
    for (let d = 0; d <= most && end < 0; d++) {
      trace.push(reach.slice(most - d, most + d + 3));
      for (let k = -d; k <= d; k += 2) {
        const at = most + 1 + k;
        let x = k === -d || (k !== d && reach[at - 1] < reach[at + 1]) ? reach[at + 1] : reach[at - 1] + 1;
        while (x < n && x - k < m && a[start + x] === b[start + x - k]) x++;
        reach[at] = x;
        if (x >= n && x - k >= m) { end = d; break; }
      }
    }
    if (end < 0) {
      marks[0].fill(1, start, endA);
      marks[1].fill(1, start, endB);
      return marks;
    }
    for (let d = end, x = n, y = m; d > 0; d--) {
      const before = trace[d], k = x - y, at = k + d + 1;
      const down = k === -d || (k !== d && before[at - 1] < before[at + 1]);
      const fromK = down ? k + 1 : k - 1, fromX = before[fromK + d + 1];
      if (down) marks[1][start + fromX - fromK] = 1; else marks[0][start + fromX] = 1;
      x = fromX;
      y = fromX - fromK;
    }
    return marks;
  }

  function option(select, value, text) {
    const node = make("option", "", text);
    node.value = value;
    select.append(node);
  }

  function fillOutcomes() {
    const single = fields.a.value === fields.b.value;
    const kinds = new Set(data.rows.map(outcome)), before = fields.outcome.value;
    fields.outcome.replaceChildren();
    option(fields.outcome, "", "all");
    for (const kind of Object.keys(LABELS)) {
      const alone = kind === "fail" || kind === "pass";
      if (kinds.has(kind) || alone === single) option(fields.outcome, kind, LABELS[kind]);
    }
    fields.outcome.value = [...fields.outcome.options].some((one) => one.value === before) ? before : "";
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 10, PageUp: -10 };
    let place = null;
    if (event.key in steps) place = Math.min(found.length - 1, Math.max(0, chosen + steps[event.key]));
    else if (event.key === "Home") place = 0;
    else if (event.key === "End") place = found.length - 1;
    else if (event.key === "/") { event.preventDefault(); fields.search.focus(); return; }
    if (place === null || place < 0) return;
    event.preventDefault();
    choose(place, true);
  }

  async function begin() {
    data = JSON.parse(await inflate(document.getElementById("rows").textContent));
    data.runs.forEach((name, number) => { option(fields.a, number, name); option(fields.b, number, name); });
    fields.a.value = data.baseline;
    fields.b.value = data.runs.length > 1 ? (data.baseline ? 0 : 1) : 0;
    if (data.runs.length === 1) for (const name of ["a", "b"]) fields[name].parentNode.hidden = true;
    const codes = new Set(data.rows.flatMap((row) => row[2].map((answer) => answer ? answer[CODE] : -1)));
    option(fields.code, "", "any");
    data.codes.forEach((name, number) => { if (codes.has(number)) option(fields.code, number, name); });
    fillOutcomes();
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      if (event.target === fields.a || event.target === fields.b) fillOutcomes();
      filter();
    });
    list.addEventListener("keydown", keys);
    more.addEventListener("click", grow);
    filter();
    viewer.hidden = false;
    document.getElementById("examples").hidden = true;
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  }

  // Without the viewer (an old browser) the static examples stay.
  if ("DecompressionStream" in window) begin();
})();
