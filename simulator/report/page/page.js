"use strict";
// Tables that sort and filter, and pictures that open large. Everything from the data becomes
// text nodes, never markup.
(() => {
  const PAGE = 200;
  const make = (name, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(name), properties);
    node.append(...children);
    return node;
  };

  // Tables

  const ratio = (text) => {
    const [above, below = "1"] = String(text).split("/");
    return Number(above) / Number(below);
  };
  const keyOf = (column, value) => (column.key === "cbr" ? ratio(value) : value);
  const compare = (column, a, b) => {
    if (a === null || b === null) return (a === null) - (b === null); // nothing comes last
    const x = keyOf(column, a), y = keyOf(column, b);
    return typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
  };
  const told = (column, value) => {
    if (value === null) return "-";
    if (column.key === "image") return value.split("/").pop();
    if (typeof value !== "number") return value;
    if (column.digits === null) return String(value);
    return (value * (column.factor ?? 1)).toFixed(column.digits);
  };

  function table(host) {
    const { columns, rows } = JSON.parse(document.getElementById(host.dataset.rows).textContent);
    const name = host.dataset.name;
    let sorted = { index: -1, down: false }, shown = PAGE;
    const filters = new Map(); // column index -> chosen text
    let words = "";
    const bar = make("div", { className: "filters" });
    const count = make("p", { className: "note" });
    count.setAttribute("role", "status");
    const body = make("tbody"), heads = make("tr");
    const more = make("button", { type: "button", className: "plain", textContent: "Show more" });
    more.onclick = () => { shown += PAGE; draw(); };

    columns.forEach((column, index) => {
      const values = [...new Set(rows.map((row) => row[index]))];
      if (column.filter && values.length > 1 && values.length < 60) {
        const select = make("select", {}, make("option", { value: "", textContent: "all" }));
        values.sort((a, b) => compare(column, a, b));
        values.forEach((value) => select.append(make("option", { value: JSON.stringify(value), textContent: told(column, value) })));
        select.onchange = () => { filters.set(index, select.value); shown = PAGE; draw(); };
        bar.append(make("label", { textContent: column.head }, select));
      }
      const button = make("button", { type: "button", textContent: column.head });
      button.onclick = () => {
        sorted = { index, down: sorted.index === index && !sorted.down };
        [...heads.children].forEach((th) => th.removeAttribute("aria-sort"));
        button.parentNode.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
        draw();
      };
      const th = make("th", { scope: "col", className: "digits" in column ? "number" : "" }, button);
      heads.append(th);
    });
    const search = make("input", { type: "search" });
    search.oninput = () => { words = search.value.toLowerCase(); shown = PAGE; draw(); };
    bar.append(make("label", { textContent: "image or caption" }, search));

    function draw() {
      const kept = rows.filter((row) =>
        [...filters].every(([index, value]) => !value || JSON.stringify(row[index]) === value) &&
        (!words || columns.some((column, i) => column.search && String(row[i] ?? "").toLowerCase().includes(words))));
      if (sorted.index >= 0) {
        const { index, down } = sorted;
        kept.sort((a, b) => {
          const order = compare(columns[index], a[index], b[index]);
          return down && a[index] !== null && b[index] !== null ? -order : order;
        });
      }
      body.replaceChildren(...kept.slice(0, shown).map((row) => make("tr", {}, ...row.map((value, i) => {
        const cell = make("td", { textContent: told(columns[i], value) });
        if ("digits" in columns[i]) cell.className = "number";
        if (columns[i].key === "caption") cell.className = "long";
        if (columns[i].key === "image") cell.title = value ?? "";
        if (columns[i].key === "status" && value !== "delivered") cell.className = "bad";
        return cell;
      }))));
      count.textContent = `${kept.length} of ${rows.length} rows of ${name}` +
        (kept.length > shown ? `; the first ${shown} are shown` : "");
      more.hidden = kept.length <= shown;
    }
    const scroll = make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, make("thead", {}, heads), body));
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `Rows of ${name}`);
    host.append(bar, count, scroll, more);
    draw();
  }
  document.querySelectorAll(".results").forEach(table);

  // Large view: two pictures on top of one another, one transform for both, a split between them

  const dialog = make("dialog");
  dialog.setAttribute("aria-label", "Compare images");
  const left = make("select"), right = make("select");
  const range = make("input", { type: "range", min: 0, max: 100, value: 50 });
  range.setAttribute("aria-label", "Split between left and right");
  const plain = (textContent, label, onclick) => {
    const button = make("button", { type: "button", className: "plain", textContent, onclick });
    button.setAttribute("aria-label", label);
    return button;
  };
  const close = plain("Close", "Close", () => dialog.close());
  close.classList.add("close");
  const lower = make("img"), upper = make("img");
  const over = make("div", { className: "layer" }, upper), split = make("div", { className: "split" });
  const tagLeft = make("div", { className: "tag left" }), tagRight = make("div", { className: "tag right" });
  const stage = make("div", { className: "stage", tabIndex: 0 }, make("div", { className: "layer" }, lower), over, split, tagLeft, tagRight);
  stage.setAttribute("role", "group");
  stage.setAttribute("aria-label", "Picture: arrow keys move it, plus and minus enlarge it");
  dialog.append(make("div", { className: "bar-top" },
    make("label", {}, "left", left), make("label", {}, "right", right), make("label", {}, "split", range),
    plain("\u2212", "Smaller", () => zoom(1 / 1.4)), plain("+", "Larger", () => zoom(1.4)),
    plain("Fit", "Whole picture", fit), plain("1:1", "One pixel a pixel", () => zoom(1 / view.scale)), close), stage);
  document.body.append(dialog);

  let view = { x: 0, y: 0, scale: 1 }, size = [1, 1], group = [];
  const picture = (index) => group[index].querySelector("img");

  function place() {
    [lower, upper].forEach((img) => {
      img.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
      img.style.imageRendering = view.scale > 3 ? "pixelated" : "auto";
    });
    over.style.clipPath = `inset(0 ${100 - range.value}% 0 0)`;
    split.style.left = `${range.value}%`;
  }
  function fit() {
    const scale = Math.min(stage.clientWidth / size[0], stage.clientHeight / size[1]);
    view = { scale, x: (stage.clientWidth - size[0] * scale) / 2, y: (stage.clientHeight - size[1] * scale) / 2 };
    place();
  }
  function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    const scale = Math.min(40, Math.max(0.05, view.scale * factor)), ratio = scale / view.scale;
    view = { scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio };
    place();
  }
  function choose() {
    [[upper, left, tagLeft], [lower, right, tagRight]].forEach(([img, select, tag]) => {
      const from = picture(select.value);
      Object.assign(img, { src: from.src, alt: from.alt, width: size[0], height: size[1] });
      tag.textContent = group[select.value].dataset.label;
    });
    place();
  }
  function open(button) {
    group = [...document.querySelectorAll(".zoom")].filter((each) => each.dataset.group === button.dataset.group);
    [left, right].forEach((select) => select.replaceChildren(
      ...group.map((each, value) => make("option", { value, textContent: each.dataset.label }))));
    const index = group.indexOf(button);
    left.value = 0;
    right.value = index || Math.min(1, group.length - 1);
    const from = picture(index);
    size = [Number(from.getAttribute("width")), Number(from.getAttribute("height"))];
    dialog.showModal();
    choose();
    fit();
    stage.focus();
  }
  document.querySelectorAll(".zoom").forEach((button) => { button.onclick = () => open(button); });
  left.onchange = right.onchange = choose;
  range.oninput = place;
  window.addEventListener("resize", () => dialog.open && fit());
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    if (step) { view.x += step[0]; view.y += step[1]; place(); event.preventDefault(); }
    if (event.key === "+" || event.key === "=") zoom(1.4);
    if (event.key === "-") zoom(1 / 1.4);
  });
  // One pointer moves the pictures, two enlarge them.
  const pointers = new Map();
  stage.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    stage.setPointerCapture(event.pointerId);
  });
  const gone = (event) => pointers.delete(event.pointerId);
  stage.addEventListener("pointerup", gone);
  stage.addEventListener("pointercancel", gone);
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    pointers.set(event.pointerId, now);
    if (other) {
      const box = stage.getBoundingClientRect();
      const far = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      zoom(far(now) / far(before), (now[0] + other[0]) / 2 - box.left, (now[1] + other[1]) / 2 - box.top);
    } else {
      view.x += now[0] - before[0];
      view.y += now[1] - before[1];
      place();
    }
  });
})();
