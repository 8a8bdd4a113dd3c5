// What the console costs: time of the first page and of queries, its memory, and whether the door notices that ten browsers
// watch. `make bench-console` runs it; DAYS is how much there is in the journal.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { OUT, URL, browser, enter, open } from './house.mjs';

const [ACCESSD, PHOTOS, MODELS] = ['ACCESSD', 'PHOTOS', 'MODELS'].map((name) => process.env[name]);
const house = await open(ACCESSD, PHOTOS, MODELS, Number(process.env.DAYS ?? 30));
const { chrome, close } = await browser();
const accessd = (...args) => execFileSync(join(process.cwd(), ACCESSD), ['--config', 'accessd.toml', ...args], { cwd: house.out, encoding: 'utf8' });
const status = () => JSON.parse(accessd('status', '--json'));
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const report = {};
try {
  const page = await enter(chrome, 'ada');
  report.events = (await (await page.request.get(`${URL}/events`)).text()).match(/\/events\/(\d+)/)[1];
  const consolePid = execFileSync('pgrep', ['-f', 'accessd.toml console$'], { encoding: 'utf8' }).trim().split('\n').pop();
  const daemonPid = status().pid;
  const rss = (pid, what = 'VmRSS') => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(new RegExp(`${what}:\\s+(\\d+)`))[1]) / 1024;

  const time = async (path) => {
    const times = [];
    for (let n = 0; n < 15; n++) {
      const began = performance.now();
      await (await page.request.get(URL + path)).body();
      times.push(performance.now() - began);
    }
    times.sort((a, b) => a - b);
    return { median: +times[7].toFixed(1), worst: +times[14].toFixed(1) };
  };
  report.ms = {};
  for (const path of ['/', '/events', '/events?what=in', '/events?what=in&what=out&what=alarm', '/events?person=Ada+Lovelace',
    '/events?from=2026-03-01&until=2026-03-02', '/events?from=2025-01-01&until=2025-06-01&what=alarm', '/events?person=Ada+Lovelace&from=2026-01-01&until=2026-06-01', '/people', '/policy', '/site']) {
    report.ms[path] = await time(path);
  }
  report.console_rss_mb = { idle: rss(consolePid).toFixed(1) };

  const watch = async (seconds) => {
    const [fps, latency, before] = [[], [], ticks(daemonPid)];
    for (let n = 0; n < seconds; n++) {
      await pause(1000);
      const now = status();
      const door = now.doors ? now.doors[0] : now;
      fps.push(door.fps);
      latency.push(door.latency_ms);
    }
    const mean = (all) => +(all.reduce((a, b) => a + b, 0) / all.length).toFixed(2);
    return { fps: mean(fps), latency_ms: mean(latency), daemon_cpu_s: (ticks(daemonPid) - before) / 100 };
  };
  const ticks = (pid) => { const f = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' '); return Number(f[11]) + Number(f[12]); };
  const seconds = Number(process.env.SECONDS_EACH ?? 40);
  await page.close();
  report.nobody_watches = await watch(seconds);
  // Ten who watch as the page does: news, and the picture twice a second. No browser draws, whose work would count as the door's.
  const stop = new AbortController();
  const cookie = (await page.context().cookies()).map(({ name, value }) => `${name}=${value}`).join('; ');
  const headers = { cookie };
  let pictures = 0;
  for (let n = 0; n < 10; n++) {
    fetch(`${URL}/live`, { headers, signal: stop.signal }).then(async (answer) => { for await (const _ of answer.body); }).catch(() => {});
    (async () => {
      while (!stop.signal.aborted) {
        const answer = await fetch(`${URL}/live/picture`, { headers, signal: stop.signal }).catch(() => null);
        if (answer?.ok) { await answer.arrayBuffer(); pictures++; }
        await pause(500);
      }
    })();
  }
  await pause(2000);
  report.ten_watch = await watch(seconds);
  report.pictures_a_second = +(pictures / (seconds + 2)).toFixed(1);
  report.console_rss_mb.ten_watch = rss(consolePid).toFixed(1);
  report.console_rss_mb.most = rss(consolePid, 'VmHWM').toFixed(1);
  report.daemon_rss_mb = rss(daemonPid).toFixed(1);
  stop.abort();
} finally {
  await close();
  await house.close();
}
console.log(JSON.stringify(report, null, 2));
writeFileSync(join(OUT, 'measured.json'), JSON.stringify(report, null, 2));
