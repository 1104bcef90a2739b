// Tells what is nearest to the pointer in a picture.
const told = document.getElementById('told');
for (const chart of document.querySelectorAll('.chart')) {
  const spots = JSON.parse(chart.dataset.spots);
  const svg = chart.querySelector('svg');
  if (!spots.length) continue;
  const show = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    const x = (event.clientX - box.left) / scale, y = (event.clientY - box.top) / scale;
    let best = null, distance = 60;
    for (const spot of spots) {
      const away = Math.hypot(spot[0] - x, spot[1] - y);
      if (away < distance) { best = spot; distance = away; }
    }
    told.hidden = !best;
    if (!best) return;
    told.textContent = best[2];
    const left = box.left + best[0] * scale + 12, top = box.top + best[1] * scale + 12;
    told.style.left = Math.max(4, Math.min(left, innerWidth - told.offsetWidth - 4)) + 'px';
    told.style.top = Math.max(4, Math.min(top, innerHeight - told.offsetHeight - 4)) + 'px';
  };
  chart.addEventListener('pointermove', show);
  chart.addEventListener('pointerdown', show);
  chart.addEventListener('pointerleave', () => { told.hidden = true; });
}
