// The page of the connection test in a real browser: filled in by keyboard, a precondition taken away, told, mended, saved.
//
// `node page.mjs CHROMIUM PLAYWRIGHT SHOTS`: a line of JSON on standard input tells what `page.py` has prepared.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [chromium, playwright, shots] = process.argv.slice(2);
const { chromium: driver } = createRequire(import.meta.url)(playwright);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const heard = async () => JSON.parse((await lines.next()).value);
const asked = async (what) => { console.log(JSON.stringify({ ask: what })); return heard(); };

const told = await heard();
const bad = [];
const holds = (what, fine, said = "") => { if (!fine) bad.push(`${what}: ${JSON.stringify(said)}`); };

const browser = await driver.launch({ executablePath: chromium, args: ["--no-sandbox", "--disable-gpu"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 1000 }, permissions: ["clipboard-read", "clipboard-write"] });
const page = await context.newPage();
const elsewhere = [], errors = [];
page.on("request", (request) => { if (!request.url().startsWith(told.origin) && !request.url().startsWith("data:")) elsewhere.push(request.url()); });
page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
page.on("pageerror", (error) => errors.push(String(error)));

await page.goto(told.link);
await page.getByLabel("Target Unity Catalog").waitFor();
await shot("empty");
holds("the token is no longer in the address", !page.url().includes("#"), page.url());
holds("what the file gives stands in its field", await page.getByLabel("Databricks Workspace URL").inputValue() === told.workspace_url);

// By keyboard alone, as somebody goes from field to field.
const type = async (label, text) => {
  for (let presses = 0; presses < 40; presses += 1) {
    const at = await page.evaluate(() => document.activeElement.labels?.[0]?.textContent.trim());
    if (at === label) { await page.keyboard.type(text); return; }
    await page.keyboard.press("Tab");
  }
  bad.push(`no way to “${label}” by keyboard`);
};
await type("Target Unity Catalog", told.catalog);
await type("HTTP Path", told.http_path);
await type("Service Principal Client ID", told.client_id);
await type("Service Principal Client Secret", told.wrong_secret);
const storage = page.getByLabel("Use the storage as");
holds("nothing is asked of storage without a lake", !(await storage.isVisible()));
await type("Storage container", told.lake);
await storage.selectOption("principal");
holds("a principal of storage has fields", await page.getByLabel("Storage Client Secret").isVisible());
await storage.selectOption("");
holds("and no other way has them", !(await page.getByLabel("Storage Client Secret").isVisible()));

const finished = () => page.waitForFunction(() => /^(Connected|Not)/.test(document.getElementById("verdict").textContent) && !document.getElementById("test").disabled && document.activeElement.id === "verdict");
const step = (name) => page.locator(`#steps > li[data-step="${name}"]`);
const status = (name) => step(name).getAttribute("data-status");
const failed = () => page.locator('#steps > li[data-status="failed"]').evaluateAll((all) => all.map((one) => one.dataset.step));

async function test() {
  await page.evaluate(() => { window.seen = []; new MutationObserver(() => window.seen.push(document.querySelectorAll('#steps > li[data-status="passed"]').length)).observe(document.getElementById("steps"), { attributes: true, subtree: true }); });
  await page.getByLabel("Target Unity Catalog").focus();
  await page.keyboard.press("Enter");
  await finished();
}

// A wrong secret.
await test();
holds("a wrong secret is blamed on the sign-in", JSON.stringify(await failed()) === '["sign_in"]', await failed());
holds("what waits says for what", (await step("identity").textContent()).includes("waits for “the principal gets a token”"), await step("identity").textContent());
await shot("wrong-secret");

// The right one; rights are missing.
await page.getByLabel("Service Principal Client Secret").fill(told.client_secret);
await asked("revoke");
await test();
holds("a missing grant is blamed on the grant", JSON.stringify(await failed()) === '["grants"]', await failed());
const advice = await step("grants").textContent();
holds("the set-up step is named", /Set-up step \d: .*catalog/i.test(advice), advice);
holds("the guide is linked", (await step("grants").getByRole("link").getAttribute("href")).startsWith("https://"));
const copy = step("grants").getByRole("button", { name: /Copy/ }).first();
await copy.focus();
await page.keyboard.press("Enter");
const copied = await page.evaluate(() => navigator.clipboard.readText());
holds("what is copied is the line to run", copied.startsWith("GRANT ") && copied.includes(told.client_id), copied);
await shot("missing-grant");
await page.setViewportSize({ width: 360, height: 780 });
holds("a narrow screen needs no scrolling aside", await page.evaluate(() => document.documentElement.scrollWidth <= 360), await page.evaluate(() => document.documentElement.scrollWidth));
await shot("narrow");
await page.emulateMedia({ colorScheme: "dark" });
await page.setViewportSize({ width: 1280, height: 1000 });
await shot("dark");
const contrasts = await contrast();
holds("texts stand out from their ground (dark)", contrasts.length === 0, contrasts);
await page.emulateMedia({ colorScheme: "light" });
holds("texts stand out from their ground (light)", (await contrast()).length === 0, await contrast());

// An admin runs what was copied.
await asked(`run ${copied}`);
await test();
holds("mended, it passes", await page.locator("#verdict").textContent() === "Connected", await failed());
holds("steps were ticked off one after another", new Set(await page.evaluate(() => window.seen)).size > 10);
holds("a batch went all the way", await status("maintain") === "passed", await status("maintain"));
const next = await page.locator("#next").textContent();
for (const word of ["inlet ingest", "_loads", "SELECT", "alarms", told.http_path, "DBU"]) holds(`next steps tell of ${word}`, next.includes(word), next);
await shot("connected");

// Nothing of the secret is to be seen.
async function hidden(when) {
  const kept = await page.evaluate(() => JSON.stringify([document.documentElement.outerHTML, location.href, { ...localStorage }, { ...sessionStorage }, document.cookie, history.state]));
  const cookies = JSON.stringify(await context.cookies());
  for (const secret of [told.client_secret, told.wrong_secret]) holds(`no secret on the page ${when}`, !(kept + cookies).includes(secret));
  const [cookie] = await context.cookies();
  holds("the cookie is the server's alone", cookie.httpOnly && cookie.sameSite === "Strict", cookie);
}
await hidden("while it is typed");
holds("no settings are written that nobody asked for", (await asked("settings")).text === told.text);
await page.getByRole("button", { name: "Save", exact: true }).press("Enter");
await page.locator("#saved").filter({ hasText: "is written" }).waitFor();
await shot("saved");
holds("the field is empty again", await page.getByLabel("Service Principal Client Secret").inputValue() === "");
await hidden("after it was saved");
await page.reload();
await page.getByLabel("Target Unity Catalog").waitFor();
holds("a page that is loaded anew goes on", await page.getByLabel("Target Unity Catalog").inputValue() === told.catalog);
await test();
holds("what was saved passes", await page.locator("#verdict").textContent() === "Connected", await failed());

// A setting that is wrong is marked where it stands.
await page.getByLabel("Databricks Workspace URL").fill("https://169.254.169.254/latest/meta-data");
await test();
holds("a wrong setting is marked at its field", await page.getByLabel("Databricks Workspace URL").getAttribute("aria-invalid") === "true");
holds("nothing was sent there", JSON.stringify(await failed()) === '["settings"]', await failed());
await shot("wrong-setting");

// The link opens once.
const other = await (await browser.newContext()).newPage();
await other.goto(told.link);
await other.getByRole("alert").waitFor();
holds("a used link opens nothing", !(await other.locator("main").isVisible()) && (await other.getByRole("alert").textContent()).includes("used before"));

holds("the page asks nobody else", elsewhere.length === 0, elsewhere);
holds("the browser complains of nothing", errors.length === 0, errors);
await browser.close();
console.log(JSON.stringify({ bad }));
process.exit(0);

async function shot(name) {
  if (shots) await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
}

// Texts with less contrast than 4.5 : 1, by WCAG's formula.
function contrast() {
  return page.evaluate(() => {
    const light = (color) => {
      const [r, g, b] = color.match(/[\d.]+/g).slice(0, 3).map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const color = getComputedStyle(at).backgroundColor;
        if (!/, 0\)$|transparent/.test(color)) return color;
      }
      return "rgb(255, 255, 255)";
    };
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
      const own = [...element.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
      if (!own || !element.checkVisibility() || element.closest(".unseen, script, style, :disabled")) continue;
      const [one, other] = [light(getComputedStyle(element).color), light(ground(element))].sort((a, b) => b - a);
      const ratio = (one + 0.05) / (other + 0.05);
      if (ratio < 4.5) found.push(`${element.tagName} ${element.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
    }
    return found;
  });
}
