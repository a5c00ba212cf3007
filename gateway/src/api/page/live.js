// Polls `/status`, and starts the page.

const EVERY = 2000;
// Behind an ingress this page may be at /main-api, without a slash at its end.
const base = location.pathname.endsWith("/") ? location.pathname : `${location.pathname}/`;
for (const link of document.querySelectorAll("[data-path]")) link.href = base + link.dataset.path;

let token = sessionStorage.getItem("token") ?? "";
element("access").addEventListener("submit", event => {
  event.preventDefault();
  token = element("token").value;
  sessionStorage.setItem("token", token);
  refresh();
  follow();
});

// The services keep the counts of the last 15 minutes. They are needed once for each process that the page shows, and again
// after a pause.
let polled = 0;
function needsHistory() {
  const now = performance.now();
  const wasAway = now - polled > SLOT;
  polled = now;
  for (const { shown } of [mainApi, auxService]) if (wasAway && shown) shown.hasHistory = false;
  const auxResponds = Boolean(mainApi.shown?.status.aux_service);
  return !mainApi.shown?.hasHistory || (auxResponds && !auxService.shown.hasHistory);
}

async function refresh() {
  const asks = needsHistory();
  let response, status;
  try {
    response = await fetch(`${base}status${asks ? "?history=true" : ""}`, { headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: "no-store", signal: AbortSignal.timeout(12000) });
    status = response.ok ? await response.json() : undefined;
  } catch (error) {
    return showNothing();
  }
  element("access").hidden = response.status !== 401;
  if (response.status === 401) mark(element("overall"), "warn", "a token is needed");
  else if (!response.ok) mark(element("overall"), "bad", `main-api responded ${response.status}`);
  else showAll(status, asks);
}

let paused = false;
element("pause").addEventListener("click", event => {
  paused = !paused;
  event.target.setAttribute("aria-pressed", paused);
  event.target.textContent = paused ? "Go on" : "Pause";
  follow();
});

// A status that cannot be shown ends no polling.
(async function live() {
  try {
    if (!paused && !document.hidden) await refresh();
  } finally {
    setTimeout(live, EVERY);
  }
})();

follow();
