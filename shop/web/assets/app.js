// The page of the shop. No framework and no build: state, a few views that are
// drawn from it, and the API. Text reaches the page as text nodes only.

const $ = (id) => document.getElementById(id);

// h makes an element: h("a", {href: "#/", class: "x", onclick: f}, "text", child).
function h(tag, props, ...children) {
  const el = document.createElement(tag);
  for (const [k, v] of Object.entries(props ?? {})) {
    if (v === undefined || v === null || v === false) continue;
    if (k.startsWith("on")) el.addEventListener(k.slice(2), v);
    else el.setAttribute(k, v === true ? "" : v);
  }
  el.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return el;
}

// ---------------------------------------------------------------- state

const session = {
  get token() { return sessionStorage.getItem("argosy.token"); },
  get email() { return sessionStorage.getItem("argosy.email"); },
  set(token, email) { sessionStorage.setItem("argosy.token", token); sessionStorage.setItem("argosy.email", email); },
  clear() { sessionStorage.removeItem("argosy.token"); sessionStorage.removeItem("argosy.email"); },
};

const state = { products: [], next: "", query: "", category: "", loading: false, failed: "", cart: { lines: [] } };

// An attempt is an order that was sent and whose answer is not known yet. It is
// kept over reloads with its key, so that asking again can never order twice.
const attempt = {
  get() {
    try { return JSON.parse(localStorage.getItem("argosy.attempt")); } catch { return null; }
  },
  set(a) { localStorage.setItem("argosy.attempt", JSON.stringify(a)); },
  clear() { localStorage.removeItem("argosy.attempt"); },
};

const PAYMENTS = [
  ["tok_ok", "A card that works"],
  ["tok_decline", "A card that the bank declines"],
  ["tok_timeout_after_commit", "A bank that books, then forgets to answer"],
  ["tok_slow", "A bank that takes its time"],
];

const STATES = {
  PENDING: "On its way through the house", CONFIRMED: "Confirmed", CANCELLING: "Being cancelled",
  CANCELLED: "Cancelled", REVIEW: "A person is looking at it",
};

// ---------------------------------------------------------------- formats

const language = document.documentElement.lang;

// money formats {currency, minorUnits}; protojson writes int64 as a string and
// leaves a zero out.
function money(m) {
  const currency = m?.currency || "EUR";
  const format = new Intl.NumberFormat(language, { style: "currency", currency });
  const digits = format.resolvedOptions().maximumFractionDigits;
  return format.format(Number(m?.minorUnits ?? 0) / 10 ** digits);
}

function clock(t, long) {
  const at = new Date(t);
  if (isNaN(at)) return "";
  return at.toLocaleString(language, long ? { dateStyle: "medium", timeStyle: "short" } : { timeStyle: "medium" });
}

const count = (lines) => (lines ?? []).reduce((n, l) => n + (l.quantity ?? 0), 0);
const things = (n) => `${n} ${n === 1 ? "item" : "items"}`;
const say = (text) => { $("says").textContent = text; };

function banner(text) {
  $("banner").hidden = !text;
  $("banner").textContent = text ?? "";
}

// ---------------------------------------------------------------- the API

class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || body?.title || (status ? `The shop answered ${status}.` : "The shop cannot be reached."));
    this.status = status;
    this.retryAfter = 0;
  }
  // unknown: whether the request took effect cannot be told from this.
  get unknown() { return this.status === 0 || this.status === 409 || this.status === 429 || this.status >= 500; }
}

async function api(method, path, body, headers, signal) {
  const init = { method, headers: { Accept: "application/json", ...headers }, signal, cache: "no-store" };
  if (session.token) init.headers.Authorization = "Bearer " + session.token;
  if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, init);
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Problem(0);
  }
  if (init.headers.Accept === "text/event-stream" && response.ok) return response;
  let reply = null;
  try { reply = await response.json(); } catch (e) {
    if (e.name === "AbortError") throw e;
    if (response.ok) throw new Problem(0); // the answer broke off
  }
  if (!response.ok) {
    if (response.status === 401) signedOut();
    const problem = new Problem(response.status, reply);
    problem.retryAfter = Number(response.headers.get("Retry-After")) || 0;
    throw problem;
  }
  return reply;
}

const pause = (ms, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(new DOMException("", "AbortError")); }, { once: true });
});

// backoff grows with the tries and differs between pages.
const backoff = (tries) => Math.min(8000, 300 * 2 ** tries) * (0.5 + Math.random() / 2);

// ---------------------------------------------------------------- signing in

let afterSignIn = null;

function signIn(why, then) {
  afterSignIn = then;
  if (why) $("signin-why").textContent = why + " The terminal that runs the shop shows an address and a password.";
  $("signin-error").hidden = true;
  if (!$("signin").open) $("signin").showModal();
  $("email").focus();
}

function signedOut() {
  session.clear();
  state.cart = { lines: [] };
  drawAccount();
  drawCart();
}

async function submitSignIn(event) {
  event.preventDefault();
  const button = event.target.querySelector("[type=submit]");
  if (button.disabled) return;
  button.disabled = true;
  $("signin-error").hidden = true;
  const email = $("email").value.trim();
  try {
    const reply = await api("POST", "/v1/sessions", { email, password: $("password").value });
    session.set(reply.token, email);
    $("password").value = "";
    $("signin").close();
    drawAccount();
    await loadCart();
    const then = afterSignIn;
    afterSignIn = null;
    if (then) await then(); else route();
    resume();
  } catch (e) {
    $("signin-error").textContent = e.status === 401 || e.status === 404 ? "No one has this address and password." : e.message;
    $("signin-error").hidden = false;
  } finally {
    button.disabled = false;
  }
}

function drawAccount() {
  const known = Boolean(session.token);
  $("account").textContent = known ? "Sign out" : "Sign in";
  $("account").title = known ? session.email : "";
  $("orders-link").hidden = !known;
}

// ---------------------------------------------------------------- products

let search = null;

async function loadProducts(more) {
  search?.abort();
  const mine = (search = new AbortController());
  if (!more) { state.next = ""; state.category = ""; }
  state.loading = true;
  state.failed = "";
  const params = new URLSearchParams({ pageSize: "200" });
  if (state.query) params.set("query", state.query);
  if (more) params.set("pageToken", state.next);
  const slow = setTimeout(drawProducts, 120); // show that it loads only when it takes long
  try {
    const page = await api("GET", "/v1/products?" + params, undefined, undefined, mine.signal);
    state.products = more ? state.products.concat(page.products ?? []) : page.products ?? [];
    state.next = page.nextPageToken ?? "";
  } catch (e) {
    if (e.name === "AbortError") return;
    state.failed = e.message;
  } finally {
    clearTimeout(slow);
    if (search === mine) { state.loading = false; drawProducts(); }
  }
  if (state.query && !state.failed) say(`${state.products.length} products found`);
}

function drawProducts() {
  if (view() !== "products") return;
  const categories = [...new Set(state.products.map((p) => p.category).filter(Boolean))].sort();
  const shown = state.products.filter((p) => !state.category || p.category === state.category);
  const chip = (label, value) => h("button", {
    type: "button", class: "chip", "aria-pressed": String(state.category === value),
    onclick: () => { state.category = value; drawProducts(); document.querySelector(".chip[aria-pressed=true]")?.focus(); },
  }, label);
  const scrolled = document.querySelector(".chips")?.scrollLeft ?? 0;
  let goods;
  if (state.loading && !shown.length) goods = h("div", { class: "grid", "aria-busy": "true" }, Array.from({ length: 8 }, () => h("div", { class: "ghost" })));
  else if (state.failed) goods = empty("⚓", "The shelves cannot be seen just now.", state.failed, h("button", { class: "quiet", type: "button", onclick: () => loadProducts() }, "Try again"));
  else if (!shown.length) goods = empty("🔭", "Nothing by that name aboard.", "Try fewer letters.");
  else goods = h("ul", { class: "grid" }, shown.map((p) => card(p, categories.indexOf(p.category))));
  draw("Products",
    h("h1", null, state.query ? `Goods like “${state.query}”` : "Provisions for the week"),
    state.query ? null : h("p", { class: "lead" }, "Fill your cart, place the order, and watch it being reserved, paid and shipped."),
    categories.length > 1 ? h("div", { class: "chips", role: "group", "aria-label": "Categories" }, chip("Everything", ""), categories.map((c) => chip(c, c))) : h("div", { class: "chips" }),
    goods,
    state.next && !state.category ? h("button", { class: "quiet more", type: "button", onclick: () => loadProducts(true) }, "More goods") : null);
  const chips = document.querySelector(".chips");
  if (chips) chips.scrollLeft = scrolled;
}

function card(p, shade) {
  const buy = h("div", { class: "buy", "data-product": p.id });
  fillBuy(buy, p);
  return h("li", { class: "card" },
    h("div", { class: `pic t${Math.max(0, shade) % 8}`, "aria-hidden": "true" }, p.emoji || "📦"),
    h("div", { class: "body" }, h("h2", null, p.name), h("p", null, p.description ?? ""), buy));
}

function fillBuy(el, p) {
  const line = state.cart.lines.find((l) => l.productId === p.id);
  el.replaceChildren(
    h("span", { class: "price num" }, money(p.price)),
    line ? stepper(line.productId, line.name, line.quantity)
      : h("button", { class: "add", type: "button", "aria-label": `Add ${p.name} to the cart`, onclick: () => setQuantity(p.id, 1, p.name) }, "Add"));
}

const empty = (sign, title, text, ...more) => h("div", { class: "none" }, h("p", { class: "big", "aria-hidden": "true" }, sign), h("h2", null, title), h("p", null, text ?? ""), more);

// ---------------------------------------------------------------- cart

function stepper(id, name, quantity) {
  return h("span", { class: "step", role: "group", "aria-label": `Quantity of ${name}` },
    h("button", { type: "button", "data-step": id + "-", "aria-label": `One less ${name}`, onclick: () => setQuantity(id, quantity - 1, name) }, "−"),
    h("span", { class: "num" }, String(quantity)),
    h("button", { type: "button", "data-step": id + "+", "aria-label": `One more ${name}`, disabled: quantity >= 99, onclick: () => setQuantity(id, quantity + 1, name) }, "+"));
}

// Changes of the cart are sent one after the other; the page shows a change at
// once and the last answer corrects it.
let cartQueue = Promise.resolve();
let cartChanges = 0;

function setQuantity(id, quantity, name) {
  if (!session.token) {
    signIn("To fill a cart, sign in first.", () => {
      const have = state.cart.lines.find((l) => l.productId === id)?.quantity ?? 0;
      setQuantity(id, have + quantity, name);
      route();
    });
    return;
  }
  guess(id, quantity, name);
  say(quantity > 0 ? `${name}: ${quantity} in the cart` : `${name} taken out of the cart`);
  cartChanges++;
  cartQueue = cartQueue.then(async () => {
    const path = "/v1/cart/items/" + encodeURIComponent(id);
    try {
      const cart = quantity > 0 ? await api("PUT", path, { quantity }) : await api("DELETE", path);
      if (--cartChanges === 0) setCart(cart);
    } catch (e) {
      cartChanges--;
      if (e.status === 401) return signIn("Your session has ended.", () => setQuantity(id, quantity, name));
      banner(`The cart was not changed: ${e.message}`);
      if (cartChanges === 0) await loadCart();
    }
  });
}

// guess is the cart as it will be, until the shop has said so.
function guess(id, quantity, name) {
  const lines = state.cart.lines.map((l) => ({ ...l }));
  const line = lines.find((l) => l.productId === id);
  const unit = line?.unitPrice ?? state.products.find((p) => p.id === id)?.price;
  const total = { currency: unit?.currency, minorUnits: String(Number(unit?.minorUnits ?? 0) * quantity) };
  if (!line) lines.push({ productId: id, name, quantity, unitPrice: unit, lineTotal: total });
  else Object.assign(line, { quantity, lineTotal: total });
  const kept = lines.filter((l) => l.quantity > 0);
  const sum = kept.reduce((n, l) => n + Number(l.lineTotal?.minorUnits ?? 0), 0);
  setCart({ ...state.cart, lines: kept, total: { currency: unit?.currency, minorUnits: String(sum) } });
}

async function loadCart() {
  if (!session.token) return;
  try { setCart(await api("GET", "/v1/cart")); } catch (e) {
    if (e.status !== 401) banner(`Your cart cannot be shown just now: ${e.message}`);
  }
}

function setCart(cart) {
  state.cart = { ...cart, lines: cart.lines ?? [] };
  const held = document.activeElement;
  const product = held?.closest("[data-product]")?.dataset.product;
  const step = held?.dataset.step ?? (product && product + "+");
  for (const el of document.querySelectorAll("[data-product]")) {
    const p = state.products.find((x) => x.id === el.dataset.product);
    if (p) fillBuy(el, p);
  }
  drawCart();
  if (held?.isConnected || !step) return; // the keyboard stays where it was, or as near as there is
  const scope = $("cart").open ? $("cart") : $("main");
  (scope.querySelector(`[data-step="${CSS.escape(step)}"]`) ?? scope.querySelector(`[data-product="${CSS.escape(product ?? "")}"] button`) ?? scope.querySelector("[data-close]"))?.focus();
}

function drawCart() {
  const n = count(state.cart.lines);
  $("cart-count").textContent = n > 99 ? "99+" : n;
  $("cart-count").hidden = n === 0;
  $("open-cart").setAttribute("aria-label", n ? `Cart, ${things(n)}` : "Cart, empty");
  const chosen = document.querySelector("#token")?.value ?? "tok_ok";
  if (!state.cart.lines.length) {
    $("cart-body").replaceChildren(empty("🧺", "Nothing in it yet.", session.token ? "Add something from the shelves." : "Sign in to see what you left in it."));
    return;
  }
  $("cart-body").replaceChildren(
    h("ul", { class: "lines" }, state.cart.lines.map((l) => h("li", null,
      h("div", null, h("div", { class: "name" }, l.name), h("span", { class: "muted num" }, money(l.unitPrice) + " each")),
      h("b", { class: "num" }, money(l.lineTotal)), stepper(l.productId, l.name, l.quantity),
      h("button", { class: "plain out", type: "button", "data-step": l.productId + "x", "aria-label": `Take ${l.name} out`, onclick: () => setQuantity(l.productId, 0, l.name) }, "Remove")))),
    state.cart.pricesAsOf ? h("p", { class: "note" }, `Prices as of ${clock(state.cart.pricesAsOf, true)}. They are checked again when you order.`) : "",
    h("form", { class: "pay", onsubmit: (e) => { e.preventDefault(); placeOrder(); } },
      h("label", { for: "token" }, "Pay with"),
      h("select", { id: "token" }, PAYMENTS.map(([value, label]) => h("option", { value, selected: value === chosen }, label))),
      h("div", { class: "sum" }, h("span", null, things(n)), h("b", { class: "num" }, money(state.cart.total))),
      h("p", { class: "note", id: "placing", role: "status", hidden: !placing }, placing ?? ""),
      h("button", { class: "go", id: "place", type: "submit", disabled: Boolean(placing) }, placing ? "Placing…" : "Place order")));
}

// ---------------------------------------------------------------- placing an order

let placing = null; // what to say while an attempt is under way

function progress(text) {
  placing = text;
  if (state.cart.lines.length) drawCart();
  if (text) say(text);
  if (text && !$("cart").open) banner(text);
  if (!text) banner();
}

function placeOrder() {
  if (placing) return; // a double click
  if (!session.token) return signIn("To order, sign in first.", placeOrder);
  const lines = state.cart.lines.map((l) => ({ productId: l.productId, quantity: l.quantity }));
  const body = { lines, paymentToken: $("token").value };
  const last = attempt.get();
  const same = last && last.email === session.email && JSON.stringify(last.body) === JSON.stringify(body);
  send(same ? last : { key: crypto.randomUUID?.() ?? randomKey(), email: session.email, body });
}

// randomKey is randomUUID where the page is not in a secure context.
const randomKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

// resume finishes an attempt that a reload or a lost connection cut off.
function resume() {
  const last = attempt.get();
  if (last && !placing && session.token && last.email === session.email) send(last, true);
}

// send asks until it knows: the key makes every repetition the same order.
async function send(a, resumed) {
  attempt.set(a);
  progress(resumed ? "Finishing the order that was under way…" : "Placing your order…");
  for (let tries = 0; ; tries++) {
    try {
      const order = await api("POST", "/v1/orders", a.body, { "Idempotency-Key": a.key });
      attempt.clear();
      progress(null);
      return placed(order, a.body);
    } catch (e) {
      if (e.status === 401) {
        progress(null);
        return signIn("Your session has ended. Your order is kept.", null); // signing in resumes it
      }
      if (!e.unknown) {
        attempt.clear();
        progress(null);
        return banner(`The order was not accepted: ${e.message}`), $("cart").close();
      }
      if (tries >= 8) {
        progress(null);
        return banner("The shop does not answer. Your order is kept: place it again, or reload the page later, and it will be the same order.");
      }
      progress("No answer yet. Asking again about the same order: it cannot be placed twice.");
      await pause(Math.max(e.retryAfter * 1000, backoff(tries)));
    }
  }
}

async function placed(order, body) {
  $("cart").close();
  say(`Order accepted, ${money(order.total)}`);
  location.hash = "#/orders/" + encodeURIComponent(order.id);
  for (const l of body.lines) {
    const have = state.cart.lines.find((x) => x.productId === l.productId);
    if (have && have.quantity <= l.quantity) await clearLine(l.productId);
  }
  await loadCart();
}

const clearLine = (id) => api("DELETE", "/v1/cart/items/" + encodeURIComponent(id)).catch(() => {}); // what stays is only a wish

// ---------------------------------------------------------------- orders

const badge = (o) => h("span", { class: `badge ${STATES[o.state] ? o.state : ""}` }, o.delivered && o.state === "CONFIRMED" ? "Delivered" : STATES[o.state] ?? o.state);
const SLOW = 4000; // ms after which a pending order is said to wait for the bank
const canCancel = (o) => (o.state === "PENDING" || o.state === "CONFIRMED") && !o.delivered;

async function showOrders(signal) {
  draw("Your orders", h("h1", null, "Your orders"), h("p", { class: "lead" }, "Looking them up…"));
  let page, orders = [];
  const list = h("ul", { class: "list" });
  const more = h("button", { class: "quiet more", type: "button", hidden: true, onclick: () => load() }, "Older orders");
  const load = async () => {
    page = await api("GET", "/v1/orders?" + new URLSearchParams({ pageSize: "50", ...(page ? { pageToken: page.nextPageToken } : {}) }), undefined, undefined, signal);
    orders = orders.concat(page.orders ?? []);
    list.append(...(page.orders ?? []).map(orderRow));
    more.hidden = !page.nextPageToken;
  };
  await load();
  draw("Your orders", h("h1", null, "Your orders"),
    orders.length ? [list, more] : empty("🧭", "No voyages yet.", "Orders that you place appear here.", h("p", null, h("a", { href: "#/" }, "To the shelves"))));
}

function orderRow(o) {
  return h("li", null, h("a", { class: "row", href: "#/orders/" + encodeURIComponent(o.id) },
    h("span", null, h("b", null, things(count(o.lines))), h("small", null, clock(o.createTime, true)), h("small", { class: "id" }, o.id)),
    badge(o), h("b", { class: "num" }, money(o.total))));
}

// showOrder draws an order and follows it until it has ended and arrived.
async function showOrder(id, signal) {
  draw("Order", h("h1", null, "Your order"), h("p", { class: "lead" }, "Looking it up…"));
  const path = "/v1/orders/" + encodeURIComponent(id);
  let last = null, late = 0;
  const show = (order) => {
    if (signal.aborted) return;
    if (last?.state !== order.state) say(`Order: ${STATES[order.state] ?? order.state}`);
    last = order;
    drawOrder(order, path, show);
    clearTimeout(late);
    if (order.state === "PENDING") late = setTimeout(() => show(order), SLOW + 100); // to say that it is slow
  };
  for (let tries = 0; ; tries++) {
    try {
      await watch(path + ":watch", (order) => { tries = 0; show(order); }, signal);
      banner();
    } catch (e) {
      if (e.name === "AbortError" || e.status === 401 || e.status === 404 || e.status === 403) throw e;
      banner("The live view is cut off. Trying to reach the shop again…");
    }
    const settled = last && ["CANCELLED", "REVIEW"].includes(last.state) || last?.delivered;
    if (settled || tries > 60) return;
    await pause(last?.state === "CONFIRMED" ? 1000 + 250 * tries : backoff(Math.min(tries, 5)), signal);
  }
}

// watch reads server-sent events with fetch, which can send the token.
async function watch(path, each, signal) {
  const response = await api("GET", path, undefined, { Accept: "text/event-stream" }, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = "", event = {}; ;) {
    const { value, done } = await reader.read().catch((e) => { throw e.name === "AbortError" ? e : new Problem(0); });
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.data && event.event === "error") throw new Problem(500, JSON.parse(event.data));
        if (event.event === "end") return;
        if (event.data) each(unwrap(JSON.parse(event.data)));
        event = {};
        continue;
      }
      const [, field, data] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (field) event[field] = field === "data" && event.data ? event.data + "\n" + data : data;
    }
  }
}

// unwrap takes an order as it is or as {"result": order}.
const unwrap = (m) => m.result ?? m;

function drawOrder(o, path, show) {
  const lost = o.state === "CANCELLED" || o.state === "CANCELLING" || o.state === "REVIEW";
  const at = o.state === "CONFIRMED" ? (o.delivered ? 4 : 3) : 1;
  const steps = ["Accepted", "Goods and payment", "With the carrier", "Delivered"].map((name, i) =>
    h("li", { class: i < at ? "done" : i === at ? "now" : "", "data-mark": i < at ? "✓" : String(i + 1), "aria-current": i === at ? "step" : undefined }, name));
  const slow = o.state === "PENDING" && Date.now() - new Date(o.createTime) > SLOW;
  const focused = document.activeElement?.id;
  draw("Order", h("p", null, h("a", { href: "#/orders" }, "← All orders")),
    h("div", { class: "title" }, h("h1", null, heading(o)), badge(o)),
    h("p", { class: "id" }, o.id),
    h("div", { class: "order" },
      h("section", { class: "panel", "aria-label": "Progress" },
        h("h2", null, "Progress"),
        lost ? null : h("ol", { class: "track" }, steps),
        slow ? h("p", { class: "note" }, "Payment pending: the bank is taking its time. The order is safe, and nothing is charged twice.") : null,
        h("ol", { class: "events" }, (o.events ?? []).map((e) => h("li", null, h("time", { datetime: e.time }, clock(e.time)), e.detail || STATES[e.state] || e.state))),
        canCancel(o) ? h("div", { class: "acts" }, h("button", { class: "quiet", id: "cancel", type: "button", onclick: (e) => cancel(e.currentTarget, path, show) }, "Cancel this order")) : null),
      h("section", { class: "panel", "aria-label": "Goods" },
        h("h2", null, "Goods"),
        h("ul", { class: "lines" }, (o.lines ?? []).map((l) => h("li", null,
          h("div", null, h("div", { class: "name" }, l.name ?? l.productId), h("span", { class: "muted num" }, `${l.quantity} × ${money(l.unitPrice)}`)),
          h("b", { class: "num" }, money(l.lineTotal))))),
        o.pricesAsOf ? h("p", { class: "note" }, `The catalog could not be asked: prices as of ${clock(o.pricesAsOf, true)}.`) : null,
        h("div", { class: "sum" }, h("span", null, things(count(o.lines))), h("b", { class: "num" }, money(o.total))))));
  if (focused === "cancel") ($("cancel") ?? $("main")).focus();
}

function heading(o) {
  if (o.delivered && o.state === "CONFIRMED") return "Safely delivered";
  return { PENDING: "Your order is under way", CONFIRMED: "Paid, packed and shipped", CANCELLING: "Taking it all back", CANCELLED: "This order was cancelled", REVIEW: "We are looking into it" }[o.state] ?? "Your order";
}

async function cancel(button, path, show) {
  if (button.disabled) return;
  button.disabled = true;
  const key = crypto.randomUUID?.() ?? randomKey();
  for (let tries = 0; ; tries++) {
    try {
      show(await api("POST", path + ":cancel", { reason: "changed my mind" }, { "Idempotency-Key": key }));
      return route(); // and follow it to its end
    } catch (e) {
      if (e.unknown && tries < 5) { await pause(backoff(tries)); continue; }
      button.disabled = false;
      return banner(`The order was not cancelled: ${e.message}`);
    }
  }
}

// ---------------------------------------------------------------- views

const view = () => (location.hash.startsWith("#/orders") ? "orders" : "products");
let drawn = "";
let viewing = null;

// draw replaces the view; a new view starts at its top.
function draw(title, ...content) {
  document.title = `${title} · Argosy Provisions`;
  $("main").replaceChildren(...content.flat().filter(Boolean));
  if (drawn !== location.hash) {
    if (drawn) { scrollTo(0, 0); if (!document.querySelector("dialog[open]")) $("main").focus({ preventScroll: true }); }
    drawn = location.hash;
  }
}

async function route() {
  viewing?.abort();
  const mine = (viewing = new AbortController());
  banner(placing);
  if (view() === "products") {
    if (state.products.length && !state.query) drawProducts(); else await loadProducts();
    return;
  }
  if (!session.token) {
    draw("Sign in", empty("🔑", "Sign in to see your orders.", "", h("p", null, h("button", { class: "go", type: "button", onclick: () => signIn("", route) }, "Sign in"))));
    return;
  }
  const id = decodeURIComponent(/^#\/orders\/(.+)$/.exec(location.hash)?.[1] ?? "");
  try {
    await (id ? showOrder(id, mine.signal) : showOrders(mine.signal));
  } catch (e) {
    if (e.name === "AbortError") return;
    if (e.status === 401) return signIn("Your session has ended.", route);
    draw("Not shown", empty("🌫️", e.status === 404 ? "There is no such order." : "This cannot be shown just now.", e.status === 404 ? "" : e.message,
      h("p", null, h("button", { class: "quiet", type: "button", onclick: route }, "Try again"))));
  }
}

// ---------------------------------------------------------------- start

let typing = 0;
$("query").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(runSearch, 180);
});
$("search").addEventListener("submit", (e) => { e.preventDefault(); clearTimeout(typing); runSearch(); });

function runSearch() {
  const query = $("query").value.trim();
  if (query === state.query && view() === "products") return;
  state.query = query;
  if (view() === "products") loadProducts();
  else { state.products = []; location.hash = "#/"; }
}

$("account").addEventListener("click", () => {
  if (!session.token) return signIn("", null);
  signedOut();
  say("Signed out");
  setCart({ lines: [] });
  route();
});
$("open-cart").addEventListener("click", () => { drawCart(); $("cart").showModal(); });
$("signin-form").addEventListener("submit", submitSignIn);
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (e) => { if (e.target === dialog) dialog.close(); });
}
$("signin").addEventListener("close", () => { if (!session.token) afterSignIn = null; });
window.addEventListener("hashchange", route);
window.addEventListener("online", () => route());

drawAccount();
drawCart();
loadCart().then(resume);
route();
