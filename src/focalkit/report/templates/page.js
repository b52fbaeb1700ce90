"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = {responsive: true, displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]]};
  const charts = Object.keys(figures).map((id) => document.getElementById(id));
  for (const chart of charts) {
    const {data, layout} = figures[chart.id];
    Plotly.newPlot(chart, data, layout, config);
  }

  for (const select of document.querySelectorAll("select[data-chart]")) {
    const chart = document.getElementById(select.dataset.chart);
    const show = () => Plotly.restyle(chart, {visible: chart.data.map((trace) => trace.meta === select.value)});
    select.addEventListener("change", show);
  }

  // Paper is narrower than the window: draw to its width, and back afterwards.
  window.addEventListener("beforeprint", () => {
    for (const chart of charts) Plotly.relayout(chart, {width: chart.closest(".pair") ? 318 : 660});
  });
  window.addEventListener("afterprint", () => {
    for (const chart of charts) Plotly.relayout(chart, {width: null, autosize: true});
  });

  const viewer = document.getElementById("viewer");
  const thumbs = [...document.querySelectorAll(".thumb")];
  let shown = 0;
  const open = (index) => {
    shown = (index + thumbs.length) % thumbs.length;
    const source = thumbs[shown].querySelector("img");
    const target = viewer.querySelector("img");
    target.src = source.src;
    target.alt = source.alt;
    viewer.querySelector("figcaption").textContent = source.alt;
    if (!viewer.open) viewer.showModal();
  };
  thumbs.forEach((thumb, index) => thumb.addEventListener("click", () => open(index)));
  for (const button of viewer.querySelectorAll(".step")) {
    button.addEventListener("click", () => open(shown + Number(button.dataset.step)));
  }
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") open(shown - 1);
    if (event.key === "ArrowRight") open(shown + 1);
  });

  const links = new Map([...document.querySelectorAll(".toc a")].map((a) => [a.hash.slice(1), a]));
  const parts = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const mark = () => {
    let current = parts[0];
    for (const part of parts) if (part.getBoundingClientRect().top < 140) current = part;
    for (const [id, link] of links) {
      if (current && id === current.id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  document.addEventListener("scroll", mark, {passive: true});
  mark();
})();
