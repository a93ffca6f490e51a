// Draws each block of Mermaid in its place. Without JavaScript its source stays.
window.addEventListener("DOMContentLoaded", () => {
  const blocks = document.querySelectorAll(".highlight-mermaid pre");
  for (const each of blocks) each.textContent = each.textContent; // without the marks of the highlighting
  mermaid.initialize({ startOnLoad: false, deterministicIds: true, theme: "neutral" });
  mermaid.run({ nodes: blocks });
});
