"use strict";
// Reads /openapi.json and shows it. Text of the document only ever becomes text
// nodes, never markup.
(() => {
  const verbs = ["get", "post", "put", "patch", "delete", "head", "options", "trace"];
  let doc;

  // h makes an element: h("p.name", {attribute: value}, children...).
  function h(spec, attributes, ...children) {
    const [tag, ...classes] = spec.split(".");
    const e = document.createElement(tag);
    if (classes.length) e.className = classes.join(" ");
    for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
    e.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== ""));
    return e;
  }

  function resolve(x) {
    if (!x || !x.$ref) return x || {};
    return x.$ref.split("/").slice(1).reduce((at, key) => (at || {})[key.replace(/~1/g, "/").replace(/~0/g, "~")], doc) || {};
  }

  const short = (ref) => ref.slice(Math.max(ref.lastIndexOf("."), ref.lastIndexOf("/")) + 1);

  // inline turns `code` into code.
  function inline(text) {
    return text.split(/`([^`]+)`/).map((part, i) => (i % 2 ? h("code", null, part) : part));
  }

  // prose shows paragraphs and lists of dashes.
  function prose(text) {
    return (text || "").split(/\n{2,}/).filter(Boolean).map((p) => {
      const lines = p.split("\n");
      if (lines.every((l) => l.startsWith("- "))) return h("ul", null, lines.map((l) => h("li", null, inline(l.slice(2)))));
      return h("p", null, inline(p));
    });
  }

  function typeName(s) {
    if (!s) return "";
    if (s.$ref) return short(s.$ref);
    if (s.type === "array") return typeName(s.items) + "[]";
    if (s.type === "object" && s.additionalProperties) return "map of " + (typeName(s.additionalProperties) || "any");
    return (s.type || "any") + (s.format ? " · " + s.format : "") + (s.contentEncoding ? " · " + s.contentEncoding : "");
  }

  // inner finds the schema with fields that s is made of.
  function inner(s) {
    s = resolve(s);
    if (s.items) return inner(s.items);
    if (s.additionalProperties && !s.properties) return inner(s.additionalProperties);
    return s;
  }

  function fieldRow(name, s, required, extra, seen) {
    const known = inner(s);
    const facts = [h("span.type", null, typeName(s))];
    if (extra) facts.unshift(h("span", null, extra + " "));
    if (s.writeOnly) facts.push(" ", h("span.mark", null, "sensitive"));
    if (s.readOnly) facts.push(" ", h("span.mark", null, "read only"));
    if (s.deprecated) facts.push(" ", h("span.mark.warn", null, "deprecated"));
    const dd = h("dd", null, facts, prose(s.description));
    if (known.enum) dd.append(h("p", null, known.enum.flatMap((v, i) => [i ? " " : "", h("code", null, v)])));
    if (known.properties && !seen.includes(known)) {
      const d = h("details", null, h("summary", null, "Fields of " + name));
      d.addEventListener("toggle", () => { if (d.open && d.children.length === 1) d.append(fields(known, [...seen, known])); });
      dd.append(d);
    }
    return h("div", null, h("dt", null, name, required ? h("em", null, " required") : ""), dd);
  }

  function fields(schema, seen) {
    const known = resolve(schema);
    const rows = Object.entries(known.properties || {}).map(([name, s]) => fieldRow(name, s, (known.required || []).includes(name), "", seen));
    return rows.length ? h("dl", null, rows) : h("p.text", null, "No fields.");
  }

  // bodyOf shows a schema at the top of a body.
  function bodyOf(schema) {
    const known = inner(schema);
    const out = [];
    if (schema.$ref || schema.type !== "object") out.push(h("p.text", null, h("span.type", null, typeName(schema))));
    if (known.properties) out.push(fields(known, [known]));
    return out;
  }

  // sample makes an example of a schema for the curl line.
  function sample(schema, depth) {
    const s = resolve(schema);
    if (s.enum) return s.enum[1] || s.enum[0];
    switch (s.type) {
      case "integer": case "number": return 1;
      case "boolean": return true;
      case "array": return depth > 3 ? [] : [sample(s.items, depth + 1)];
      case "object": {
        const o = {};
        if (depth <= 3) for (const [k, v] of Object.entries(s.properties || {})) if (!v.readOnly && !resolve(v).readOnly) o[k] = sample(v, depth + 1);
        return o;
      }
      case "string":
        if (s.format === "date-time") return "2026-01-31T12:00:00Z";
        if (s.format === "int64" || s.format === "uint64") return "1";
        if (s.pattern) return "1.5s";
        return s.contentEncoding ? "AAE=" : "…";
      default: return null;
    }
  }

  const quote = (s) => "'" + s.replace(/'/g, "'\\''") + "'";

  function curl(verb, path, op, params) {
    const lines = ["curl"];
    const streams = Object.keys(resolve(op.responses["200"]).content || {}).includes("text/event-stream");
    if (streams) lines[0] += " -N";
    if (verb !== "get") lines[0] += " -X " + verb.toUpperCase();
    const required = params.filter((p) => p.in === "query" && p.required).map((p) => p.name + "=" + sample(p.schema, 0));
    lines[0] += " " + quote(location.origin + path + (required.length ? "?" + required.join("&") : ""));
    const security = op.security || doc.security || [];
    if (security.length) lines.push('-H "Authorization: Bearer $TOKEN"');
    for (const p of params) if (p.in === "header" && /key/i.test(p.name)) lines.push('-H "' + p.name + ': $(uuidgen)"');
    for (const [type, media] of Object.entries((op.requestBody || {}).content || {})) {
      lines.push("-H " + quote("Content-Type: " + type), "-d " + quote(JSON.stringify(sample(media.schema, 0))));
    }
    return lines.join(" \\\n  ");
  }

  function copyButton(text) {
    const b = h("button", { type: "button" }, "Copy");
    b.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(text); b.textContent = "Copied"; } catch { b.textContent = "Select it"; }
      setTimeout(() => { b.textContent = "Copy"; }, 1500);
    });
    return b;
  }

  function operation(verb, path, op) {
    const params = (op.parameters || []).map(resolve);
    const card = h("article", { id: op.operationId, "aria-labelledby": op.operationId + "-title" });
    const marks = [];
    if (op.deprecated) marks.push(h("span.mark.warn", null, "deprecated"));
    marks.push(h("span.mark", null, (op.security || doc.security || []).length ? "bearer token" : "public"));
    const ok = resolve(op.responses["200"]);
    if ((ok.content || {})["text/event-stream"]) marks.push(h("span.mark", null, "stream"));
    card.append(
      h("h3", { id: op.operationId + "-title" }, h("span.verb." + verb, null, verb.toUpperCase()), h("a", { href: "#" + op.operationId }, path), marks),
      h("div.text", null, prose(op.description || op.summary)));
    if (params.length) card.append(h("h4", null, "Parameters"), h("dl", null, params.map((p) => {
      const s = Object.assign({}, p.schema, { description: p.description, deprecated: p.deprecated });
      return fieldRow(p.name, s, p.required, p.in, []);
    })));
    for (const [type, media] of Object.entries((op.requestBody || {}).content || {})) {
      card.append(h("h4", null, "Body ", h("code", null, type)), ...bodyOf(media.schema));
    }
    const types = Object.keys(ok.content || {});
    if (types.length) card.append(h("h4", null, "Answer ", types.flatMap((t, i) => [i ? " or " : "", h("code", null, t)])), ...bodyOf(ok.content[types[0]].schema));
    const line = curl(verb, path, op, params);
    card.append(h("h4", null, "Try it"), h("div.try", null, h("pre", { tabindex: "0" }, line), copyButton(line)));
    return card;
  }

  // breakable lets a path break after its slashes and nowhere else.
  const breakable = (path) => path.split(/(?<=\/)/).flatMap((part) => [part, h("wbr")]);

  // group is the operations of one tag, in the page and in the index.
  function group(tag, operations) {
    const cards = [h("h2", null, tag.name), h("div.text", null, prose(tag.description))];
    const list = h("ul");
    for (const { verb, path, op } of operations) {
      cards.push(operation(verb, path, op));
      const item = h("li" + (op.deprecated ? ".gone" : ""), null,
        h("a", { href: "#" + op.operationId }, h("span.verb." + verb, null, verb.toUpperCase()), h("span", null, breakable(path))));
      item.dataset.find = [verb, path, op.operationId, op.summary, tag.name].join(" ").toLowerCase();
      list.append(item);
    }
    return { cards, index: h("section", null, h("h2", null, tag.name), list) };
  }

  function show() {
    const main = document.getElementById("operations"), index = document.getElementById("index");
    const byTag = new Map((doc.tags || []).map((t) => [t.name, { tag: t, operations: [] }]));
    let count = 0;
    for (const [path, item] of Object.entries(doc.paths || {})) {
      for (const verb of verbs) if (item[verb]) {
        const name = (item[verb].tags || ["Other"])[0];
        if (!byTag.has(name)) byTag.set(name, { tag: { name }, operations: [] });
        byTag.get(name).operations.push({ verb, path, op: item[verb] });
        count++;
      }
    }
    document.getElementById("facts").textContent = count + " operations · " + doc.info.version;
    main.append(h("h1", null, doc.info.title));
    for (const { tag, operations } of byTag.values()) {
      if (!operations.length) continue;
      const g = group(tag, operations);
      main.append(...g.cards);
      index.append(g.index);
    }
    document.getElementById("filter").addEventListener("input", (e) => {
      const words = e.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const section of index.children) {
        let any = false;
        for (const li of section.querySelectorAll("li")) {
          li.hidden = !words.every((w) => li.dataset.find.includes(w));
          any = any || !li.hidden;
        }
        section.hidden = !any;
      }
    });
    if (location.hash) { const at = document.getElementById(location.hash.slice(1)); if (at) at.scrollIntoView({ behavior: "instant" }); }
  }

  fetch("/openapi.json", { headers: { Accept: "application/json" } })
    .then((r) => { if (!r.ok) throw new Error("status " + r.status); return r.json(); })
    .then((d) => { doc = d; show(); document.getElementById("status").remove(); })
    .catch((e) => { document.getElementById("status").textContent = "openapi.json cannot be read: " + e.message; });
})();
