/* What is seen, as text; a formula gets an apostrophe, and nothing is markup. */
const escapes = {
  csv: (text) => { const safe = /^[=+\-@\t\r]/.test(text) && !/^[+-]?[\d.]+$/.test(text) ? `'${text}` : text; return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe; },
  markdown: (text) => text.replace(/[\\`*_~[\]|$#]/g, "\\$&").replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;"),
  latex: (text) => [...text].map((c) => ({ "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "–": "--", "≈": "$\\approx$", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "…": "\\ldots{}", '"': "\\textquotedbl{}" }[c]
    ?? ("{}_%&$#".includes(c) ? `\\${c}` : c < "\u0080" ? c : `U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`))).join(""),
};
function lines(table) {
  const heads = [...table.tHead.rows[0].cells];
  const at = heads.flatMap((head, index) => (head.hidden || head.dataset.c === "curve" ? [] : [index]));
  const words = (cell) => {
    if (cell.tagName === "TH") return [cell.querySelector(".name"), cell.querySelector(".variant")].filter(Boolean).map((e) => e.textContent).join(", ");
    return said(cell);
  };
  const rows = [...table.querySelectorAll("tbody[data-threat]:not([hidden]) tr.row:not([hidden])")];
  return [at.map((i) => heads[i].textContent.trim()), ...rows.map((row) => at.map((i) => words(row.cells[i]).replace(/\s+/g, " ")))];
}
function asText(kind, table) {
  const [head, ...rows] = lines(table).map((row) => row.map(escapes[kind]));
  if (kind === "csv") return [head, ...rows].map((row) => row.join(",")).join("\n");
  if (kind === "markdown") return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
  const body = rows.map((row) => `${row.join(" & ")} \\\\`);
  return [`\\begin{tabular}{${head.map((_, i) => (i < 2 ? "l" : "r")).join("")}}`, "\\toprule", `${head.join(" & ")} \\\\`, "\\midrule", ...body, "\\bottomrule", "\\end{tabular}"].join("\n");
}
function copy(kind) {
  const dialog = document.getElementById("copy"), area = dialog.querySelector("textarea");
  const seen = boards.filter((table) => !table.closest("section").hidden);
  area.value = seen.map((table) => asText(kind, table)).join("\n\n");
  dialog.showModal();
  area.focus();
  area.select();
}
