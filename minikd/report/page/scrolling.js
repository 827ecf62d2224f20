"use strict";
// Above a table or picture that is wider than its box, a line says that it scrolls and what is still out of sight.
for (const box of document.querySelectorAll(".scroll, .wide")) {
  const line = document.createElement("p");
  line.className = "more";
  box.before(line);
  const show = () => {
    const edge = box.getBoundingClientRect().right + 1;
    const heads = [...box.querySelectorAll("thead th")];
    const unseen = heads.filter((head) => head.getBoundingClientRect().right > edge).length;
    const columns = unseen === 1 ? "1 more column" : `${unseen} more columns`;
    const isAtEnd = box.scrollLeft + box.clientWidth > box.scrollWidth - 2;
    line.hidden = box.scrollWidth < box.clientWidth + 2;
    line.textContent = isAtEnd ? "← scroll back" : `${heads.length ? columns : "more to the right"}: scroll sideways →`;
  };
  box.addEventListener("scroll", show, { passive: true });
  const sizes = new ResizeObserver(show);
  sizes.observe(box);
  sizes.observe(box.firstElementChild);
}
