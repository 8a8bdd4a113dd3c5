// The made-up house with its console, started for the tests and ended with them; and a browser to look at it.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

export const OUT = process.env.CONSOLE_OUT ?? 'target/console';
export const AT = process.env.CONSOLE_AT ?? '127.0.0.1:8499';
export const URL = `http://${AT}`;
export const PASSWORD = 'only-for-the-demo';

/** Starts `accessd demo --console` and waits until the console answers. */
export async function open(accessd, photos, models, days = 30) {
  const out = join(OUT, 'house');
  mkdirSync(out, { recursive: true });
  const args = ['demo', '--console', '--listen', AT, '--out', out, '--photos', photos, '--models', models, '--days', String(days)];
  // A group of its own: the service and the console end with it.
  const child = spawn(accessd, args, { detached: true, stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ACCESSD_CONFIG: '' } });
  createInterface({ input: child.stdout }).on('line', (line) => console.log(`# ${line}`));
  let ended = false;
  child.on('exit', () => { ended = true; });
  await until('the console answers', async () => {
    if (ended) throw new Error('the demo ended');
    return fetch(`${URL}/login`).then((answer) => answer.ok, () => false);
  }, 300_000);
  return {
    out,
    close: async () => {
      process.kill(-child.pid, 'SIGINT');
      await until('the demo ends', () => ended, 20_000);
    },
  };
}

/** A headless Chromium with a profile of its own, which talks to nobody else. */
export async function browser() {
  const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'];
  const chrome = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: flags });
  return { chrome, close: () => chrome.close() };
}

/** A page on which somebody is logged in. Whatever the page complains of is kept in `complaints`. */
export async function enter(chrome, account, options = {}) {
  const context = await chrome.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  page.complaints = [];
  page.foreign = [];
  page.on('console', (message) => { if (message.type() === 'error') page.complaints.push(message.text()); });
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('request', (request) => { if (!request.url().startsWith(URL) && !request.url().startsWith('blob:')) page.foreign.push(request.url()); });
  if (account) await login(page, account, PASSWORD);
  return page;
}

export async function login(page, account, password) {
  await page.goto(`${URL}/login`);
  await page.getByLabel('Account').fill(account);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
}

export async function until(what, is, patience = 30_000) {
  const deadline = Date.now() + patience;
  for (;;) {
    if (await is()) return;
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}
