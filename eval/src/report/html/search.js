(() => {
  const search = document.getElementById("search");
  if (!search) return;
  const kind = document.getElementById("kind");
  const shown = document.getElementById("shown");
  const rows = [...document.querySelectorAll("#list article")].map((node) => [node, node.textContent.toLowerCase()]);
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const [node, text] of rows) {
      const fits = (!kind.value || node.dataset.kind === kind.value) && words.every((word) => text.includes(word));
      node.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${rows.length} rows`;
  };
  search.addEventListener("input", apply);
  kind.addEventListener("change", apply);
  apply();
})();
