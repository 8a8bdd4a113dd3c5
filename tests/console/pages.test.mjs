// What the console must show, in a real browser against the real service. `make test-console` runs it.

import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { AT, OUT, PASSWORD, URL, browser, enter, login, open, until } from './house.mjs';

const [ACCESSD, PHOTOS, MODELS] = ['ACCESSD', 'PHOTOS', 'MODELS'].map((name) => process.env[name]);
let house, chrome, ends;

before(async () => {
  mkdirSync(OUT, { recursive: true });
  house = await open(ACCESSD, PHOTOS, MODELS);
  const started = await browser();
  chrome = started.chrome;
  ends = started.close;
});
after(async () => {
  await ends?.();
  await house?.close();
});

const accessd = (...args) =>
  execFileSync(join(process.cwd(), ACCESSD), ['--config', 'accessd.toml', ...args], { cwd: house.out, encoding: 'utf8' });

test('a wrong password gets nobody in, and after five the right one neither', async () => {
  const page = await enter(chrome, null);
  await page.goto(`${URL}/events`);
  assert.match(page.url(), /\/login\?to=/);
  for (let n = 0; n < 5; n++) {
    await login(page, 'mallory', 'a wrong password');
    await page.getByText('do not belong together').waitFor();
  }
  await login(page, 'mallory', 'a wrong password');
  await page.getByText('Too many attempts').waitFor();
  for (let n = 0; n < 5; n++) await login(page, 'vera', 'a wrong password');
  await login(page, 'vera', PASSWORD);
  await page.getByText('Too many attempts').waitFor();
  assert.equal((await page.context().cookies()).length, 0);
  await page.context().close();
});

test('whoever logs in comes to where they wanted and is gone when they log out', async () => {
  const page = await enter(chrome, null);
  await page.goto(`${URL}/events?what=in`);
  await page.getByLabel('Account').fill('ada');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.keyboard.press('Enter');
  await page.waitForURL(`${URL}/events?what=in`);
  const [cookie] = await page.context().cookies();
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, 'Strict', '/']);
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.waitForURL(`${URL}/login`);
  await page.context().addCookies([cookie]);
  await page.goto(URL);
  assert.match(page.url(), /\/login/, 'the cookie of an ended session is worth nothing');
  await page.context().close();
});

test('somebody who is let in appears while one looks', async () => {
  const page = await enter(chrome, 'ada');
  const first = page.locator('#feed li').first();
  const fresh = page.locator('#feed li.fresh', { hasText: 'Barack Obama' }).filter({ hasText: 'Let in' });
  await fresh.first().waitFor({ timeout: 90_000 });
  assert.ok(await first.isVisible());
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test('the picture is shown when asked for, with the names of those in it', async () => {
  const page = await enter(chrome, 'ada');
  assert.equal(await page.locator('#live-picture').isVisible(), false);
  await page.getByRole('button', { name: 'Show the picture' }).click();
  await page.locator('#live-picture').waitFor({ state: 'visible' });
  await page.locator('#live-who', { hasText: 'Barack Obama' }).waitFor({ timeout: 60_000 });
  await page.locator('section.live').screenshot({ path: join(OUT, 'live-picture.png') });
  await page.getByRole('button', { name: 'Hide' }).click();
  assert.equal(await page.locator('#live-picture').isVisible(), false);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test('events are found by person and kind, and each explains itself', async () => {
  const page = await enter(chrome, 'grace');
  await page.goto(`${URL}/events`);
  await page.getByLabel('Person').fill('Ada Lovelace');
  await page.getByText('Let in', { exact: true }).first().click();
  await page.getByRole('button', { name: 'Show' }).click();
  const rows = page.locator('.feed .event');
  assert.ok((await rows.count()) > 5);
  for (const text of await rows.allTextContents()) assert.match(text, /Let in\s+Ada Lovelace/);
  await rows.first().click();
  await page.getByRole('heading', { name: /Let in Ada Lovelace/ }).waitFor();
  assert.equal(await page.locator('.gates li.pass').count(), await page.locator('.gates li').count());
  await page.goto(`${URL}/events?what=out`);
  await page.locator('.feed .event', { hasText: 'nobody enrolled is alike enough' }).first().click();
  await page.locator('.gates li.fail', { hasText: 'Likeness' }).waitFor();
  await page.goto(`${URL}/events?from=1999-01-01&until=1999-12-31`);
  await page.getByText('No event matches').waitFor();
  await page.context().close();
});

test('what is found can be had as CSV and JSON, all of it', async () => {
  const page = await enter(chrome, 'grace');
  const csv = await (await page.request.get(`${URL}/events/export?as=csv&what=in&person=Ada+Lovelace`)).text();
  const lines = csv.trim().split('\n');
  assert.equal(lines[0], 'id,time,kind,person,actor,detail');
  assert.ok(lines.length > 10 && lines.slice(1).every((line) => line.includes(',grant,Ada Lovelace,')));
  const json = await (await page.request.get(`${URL}/events/export?as=json`)).text();
  const records = json.trim().split('\n').map((line) => JSON.parse(line));
  const ids = records.map((record) => record.id);
  assert.ok(records.length > 3000, `${records.length}`);
  assert.equal(new Set(ids).size, ids.length);
  assert.equal(Math.min(...ids), 1);
  await page.context().close();
});

async function enrolFrom(page, name, files) {
  await page.goto(`${URL}/people/enrol`);
  await page.getByLabel('Name').fill(name);
  await page.locator('#enrol-files').setInputFiles(files);
  await page.getByRole('button', { name: 'Enrol from these' }).click();
}

test('somebody is enrolled from a photograph, and a blurred one is refused with its figure', async () => {
  const page = await enter(chrome, 'grace');
  const photo = join(PHOTOS, 'astronaut.png');
  await page.goto(`${URL}/login`);
  const blurred = await page.evaluate(async (bytes) => {
    const image = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
    const sheet = new OffscreenCanvas(image.width, image.height);
    const pen = sheet.getContext('2d');
    pen.filter = 'blur(9px)';
    pen.drawImage(image, 0, 0);
    return [...new Uint8Array(await (await sheet.convertToBlob({ type: 'image/jpeg', quality: 0.9 })).arrayBuffer())];
  }, [...(await import('node:fs')).readFileSync(photo)]);
  await enrolFrom(page, 'Eileen Collins', { name: 'blurred.jpg', mimeType: 'image/jpeg', buffer: Buffer.from(blurred) });
  const refused = page.locator('#enrol-pictures li.bad');
  await refused.waitFor();
  assert.match(await refused.textContent(), /sharpness|no face is found/);
  await enrolFrom(page, 'Eileen Collins', photo);
  await page.getByText('Eileen Collins is enrolled.').waitFor();
  await page.getByRole('link', { name: 'Eileen Collins' }).click();
  await page.getByRole('heading', { name: 'Eileen Collins' }).waitFor();
  assert.match(accessd('log', '--kind', 'enrol', '-n', '1'), /Eileen Collins.*by console: grace/);
  await page.context().close();
});

test('somebody is enrolled at the camera, guided, and stopping it stores nothing', async () => {
  const page = await enter(chrome, 'grace');
  await page.goto(`${URL}/people/enrol`);
  await page.getByLabel('Name').fill('Somebody Else');
  await page.getByRole('button', { name: 'Begin' }).click();
  await page.locator('#enrol-hint').waitFor({ state: 'visible' });
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByRole('button', { name: 'Begin' }).waitFor();
  await until('the enrolment ends', () => JSON.parse(accessd('status', '--json')).doors[0].mode === 'deciding');
  assert.doesNotMatch(accessd('list'), /Somebody Else/);
  await page.getByRole('button', { name: 'Begin' }).click();
  await page.locator('#enrol-done, #enrol-hint:has-text("nothing is stored")').filter({ visible: true }).first().waitFor({ timeout: 90_000 });
  await page.context().close();
});

test('a rule changes what is answered to why', async () => {
  const page = await enter(chrome, 'ada');
  const ask = async () => {
    await page.goto(`${URL}/policy?name=Karen+Jones&at=2026-11-25T03:00`);
    return page.locator('.answer > p strong').textContent();
  };
  assert.equal(await ask(), 'No');
  await page.getByText('Add a rule').first().click();
  const form = page.locator('form.rule');
  await form.getByLabel('Whom').fill('cleaners');
  await form.getByLabel('From').fill('00:00');
  await form.getByLabel('Until').fill('06:00');
  await form.getByRole('button', { name: 'Add a rule' }).click();
  await page.getByText('The rule is in force.').waitFor();
  assert.equal(await ask(), 'Yes');
  assert.match(accessd('log', '--kind', 'policy', '-n', '1'), /by console: ada/);
  await page.locator('tr', { hasText: '00:00-06:00' }).getByRole('button', { name: /Remove/ }).click();
  await page.getByText('The rule is gone.').waitFor();
  assert.equal(await ask(), 'No');
  await page.context().close();
});

test('lockdown begins and ends, and the journal says by whom', async () => {
  const page = await enter(chrome, 'grace');
  await page.locator('summary', { hasText: 'Lockdown' }).click();
  await page.getByRole('button', { name: 'Begin lockdown' }).click();
  await page.getByText('Lockdown: nobody is let in.').waitFor();
  await page.locator('.door.lockdown').waitFor();
  assert.equal(JSON.parse(accessd('status', '--json')).lockdown, true);
  await page.getByRole('button', { name: 'End lockdown' }).click();
  await page.getByText('Lockdown is over.').waitFor();
  assert.match(accessd('log', '--kind', 'lockdown,lockdown_over', '-n', '2'), /by console: grace[\s\S]*by console: grace/);
  await page.context().close();
});

test('groups and validity are set, and an expired visitor is refused', async () => {
  const page = await enter(chrome, 'grace');
  await page.goto(`${URL}/person?name=Vera+Visitor`);
  await page.locator('summary', { hasText: 'Groups and validity' }).click();
  await page.getByLabel('Groups').fill('visitors, lab');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved for Vera Visitor.').waitFor();
  await page.locator('.rows .tag', { hasText: 'lab' }).waitFor();
  await page.locator('summary', { hasText: 'Groups and validity' }).click();
  await page.getByRole('button', { name: 'Expire now' }).click();
  await page.locator('.rows .tag.bad', { hasText: 'expired' }).waitFor();
  await page.goto(`${URL}/policy?name=Vera+Visitor`);
  assert.equal(await page.locator('.answer > p strong').textContent(), 'No');
  await page.context().close();
});

test('somebody is erased after their name was typed, and not before', async () => {
  const page = await enter(chrome, 'ada');
  await page.goto(`${URL}/person?name=Nettie+Stevens`);
  await page.getByPlaceholder('Type the name to confirm').fill('Nettie');
  await page.getByRole('button', { name: 'Erase' }).click();
  await page.getByText('nothing was erased').waitFor();
  assert.match(accessd('list'), /Nettie Stevens/);
  await page.getByPlaceholder('Type the name to confirm').fill('Nettie Stevens');
  await page.getByRole('button', { name: 'Erase' }).click();
  const proof = page.getByText(/Nettie Stevens is erased with \d samples. All \d+ files .* were searched from end to end: \d+ traces before, none now/);
  await proof.waitFor();
  console.log(`# ${await proof.textContent()}`);
  await page.screenshot({ path: join(OUT, 'erased.png') });
  assert.doesNotMatch(accessd('list'), /Nettie Stevens/);
  assert.match(accessd('log', '--kind', 'remove', '-n', '1'), /by console: ada/);
  await page.context().close();
});

test('the chain is verified, and its result is said', async () => {
  const page = await enter(chrome, 'grace');
  await page.goto(`${URL}/events`);
  await page.getByRole('button', { name: 'Verify the chain' }).click();
  const said = page.getByText(/The journal is as it was written: \d+ records/);
  await said.waitFor();
  console.log(`# ${await said.textContent()}`);
  await page.context().close();
});

test('a backup is downloaded, sealed', async () => {
  const page = await enter(chrome, 'ada');
  await page.goto(`${URL}/site`);
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download a backup' }).click()]);
  const path = join(OUT, 'demo.backup');
  await download.saveAs(path);
  const bytes = (await import('node:fs')).readFileSync(path);
  assert.ok(bytes.length > 100_000, `${bytes.length} bytes`);
  assert.equal(bytes.indexOf('Ada Lovelace'), -1, 'a name can be read in it');
  await page.context().close();
});

test('a viewer sees everything and changes nothing', async () => {
  const page = await enter(chrome, null);
  execFileSync(join(process.cwd(), ACCESSD), ['--config', 'accessd.toml', 'console', 'add-user', 'eve', '--role', 'viewer'], { cwd: house.out, input: `${PASSWORD}\n` });
  await login(page, 'eve', PASSWORD);
  await page.waitForURL(`${URL}/`);
  const csrf = await page.locator('body').getAttribute('data-csrf');
  for (const path of ['/', '/events', '/people', '/person?name=Ada+Lovelace', '/policy', '/site']) {
    assert.equal((await page.goto(URL + path)).status(), 200, path);
    const forms = await page.locator('form[method=post]:not([action="/logout"], [action="/events/verify"])').count();
    assert.equal(forms, 0, `${path} offers a viewer a change`);
  }
  const before = accessd('log', '--json', '-n', '1', '--kind', 'policy,operator,rename,remove,enrol,lockdown');
  for (const [path, form] of CHANGES) {
    const answer = await page.request.post(URL + path, { form: { ...form, csrf }, maxRedirects: 0 });
    assert.equal(answer.status(), 403, path);
  }
  assert.equal(accessd('log', '--json', '-n', '1', '--kind', 'policy,operator,rename,remove,enrol,lockdown'), before);
  assert.equal((await page.request.get(`${URL}/people/enrol`)).status(), 403);
  await page.context().close();
});

const CHANGES = [
  ['/door/unlock', {}], ['/door/lock', {}], ['/door/hold', { for_s: '900' }], ['/door/face-on', {}],
  ['/lockdown', { on: 'yes' }], ['/person/rename', { name: 'Ada Lovelace', to: 'Eve' }],
  ['/person/terms', { name: 'Ada Lovelace', groups: 'x' }], ['/person/expire', { name: 'Ada Lovelace' }],
  ['/person/erase', { name: 'Ada Lovelace', typed: 'Ada Lovelace' }],
  ['/policy/rule', { effect: 'allow', who: 'everybody', day: 'mon', from: '00:00', until: '24:00' }],
  ['/policy/rule/remove', { id: '2' }], ['/policy/holiday', { name: 'x', first: '2026-12-01' }],
  ['/policy/holiday/remove', { date: '2027-01-01' }], ['/site/backup', {}], ['/policy/settings', { zone: '', passback: '5' }],
  ['/people/enrol/live', { name: 'Eve' }], ['/people/enrol/picture?name=Eve', { a: 'b' }],
];

test('a change that bears no proof, a wrong one, or comes from another site is not made', async () => {
  const page = await enter(chrome, 'ada');
  const csrf = await page.locator('body').getAttribute('data-csrf');
  for (const [path, form] of CHANGES) {
    for (const [headers, proof] of [[{}, undefined], [{}, 'guess'], [{ origin: 'http://evil.example' }, csrf], [{ 'sec-fetch-site': 'cross-site' }, csrf]]) {
      const answer = await page.request.post(URL + path, { headers, form: { ...form, ...(proof && { csrf: proof }) }, maxRedirects: 0 });
      assert.equal(answer.status(), 403, `${path} ${JSON.stringify(headers)} ${proof}`);
    }
  }
  const stranger = await chrome.newContext();
  for (const [path, form] of CHANGES) {
    assert.equal((await stranger.request.post(URL + path, { form: { ...form, csrf }, maxRedirects: 0 })).status(), 401, path);
  }
  await stranger.close();
  await page.context().close();
});

test('the pages run no script but their own and ask nobody else for anything', async () => {
  const page = await enter(chrome, 'ada');
  const name = `<img src=x onerror="document.title='owned'">`;
  accessd('rename', 'Ida Rhodes', name);
  for (const path of ['/', '/events', `/person?name=${encodeURIComponent(name)}`, '/people', '/policy', '/site', '/people/enrol']) {
    const answer = await page.goto(URL + path);
    const policy = answer.headers()['content-security-policy'];
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe/);
    assert.equal(answer.headers()['cache-control'], 'no-store');
    assert.doesNotMatch(await page.content(), /<script>|style="|onclick=/);
    assert.notEqual(await page.title(), 'owned');
    assert.equal(await page.locator('img[onerror]').count(), 0);
  }
  accessd('rename', name, 'Ida Rhodes');
  assert.deepEqual(page.complaints, []);
  assert.deepEqual(page.foreign, []);
  const blocked = await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'window.injected = true';
    document.body.append(script);
    return window.injected === undefined;
  });
  assert.ok(blocked, 'an injected script runs');
  await page.context().close();
});

test('every page is within 100 kB and works with the keyboard alone', async () => {
  const page = await enter(chrome, 'ada');
  const weights = {};
  for (const path of ['/', '/events', '/people', '/policy', '/site']) {
    let weight = 0;
    const count = async (response) => {
      if (response.url().includes('/live')) return;
      const body = await response.body().catch(() => '');
      weight += body.length;
    };
    // Nothing is kept from another page.
    const context = await chrome.newContext({ storageState: await page.context().storageState() });
    const fresh = await context.newPage();
    fresh.on('response', count);
    await fresh.goto(URL + path, { waitUntil: 'load' });
    await until('the style is there', () => weight > 30_000);
    weights[path] = weight;
    assert.ok(weight <= 100_000, `${path} weighs ${weight} bytes`);
    await context.close();
  }
  writeFileSync(join(OUT, 'weights.json'), JSON.stringify(weights));
  console.log(`# bytes of each page with style and script: ${JSON.stringify(weights)}`);
  await page.goto(URL);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('href')), '/events');
  await page.keyboard.press('Enter');
  await page.waitForURL(`${URL}/events`);
  await page.context().close();
});

test('every page is looked at: light, dark, on a phone', async () => {
  const looks = [
    ['light', { colorScheme: 'light' }],
    ['dark', { colorScheme: 'dark' }],
    ['phone', { colorScheme: 'light', viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }],
  ];
  for (const [look, options] of looks) {
    const page = await enter(chrome, 'ada', options);
    const grant = await page.goto(`${URL}/events?what=in`).then(() => page.locator('.event').first().getAttribute('href'));
    const refusal = await page.goto(`${URL}/events?what=out`).then(() => page.locator('.event', { hasText: 'unknown' }).first().getAttribute('href'));
    const pages = {
      now: '/', events: '/events', 'events-none': '/events?from=1999-01-01&until=1999-01-02', grant, refusal, people: '/people',
      person: '/person?name=Vera+Visitor', enrol: '/people/enrol', policy: '/policy?name=Karen+Jones&at=2026-11-24T17:30', site: '/site',
      'not-found': '/nowhere',
    };
    for (const [name, path] of Object.entries(pages)) {
      await page.goto(URL + path);
      if (name === 'person' || name === 'policy') await page.locator('.edit > summary').first().click();
      await page.waitForTimeout(150);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wide <= 0, `${name} is ${wide} px wider than ${look}`);
      await page.screenshot({ path: join(OUT, `${name}-${look}.png`), fullPage: true });
    }
    await page.context().close();
    const out = await enter(chrome, null, options);
    await out.goto(`${URL}/login`);
    await out.screenshot({ path: join(OUT, `login-${look}.png`) });
    await out.context().close();
  }
});
