// The prompt's bar, which stands at the bottom of a phone's screen: what has the focus must not lie under it.

/** Tell the style sheet how high the bar is, as `--bar`. */
export function measureBar(bar) {
  const root = document.documentElement;
  new ResizeObserver(() => root.style.setProperty("--bar", `${bar.offsetHeight}px`)).observe(bar);
}
