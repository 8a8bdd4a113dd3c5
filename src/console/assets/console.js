// What the pages do by themselves: news, the live picture, finding people, enrolment. Everything else is a plain form.
'use strict';
(() => {
  const $ = (id) => document.getElementById(id);
  const csrf = document.body.dataset.csrf;

  // Menus close when one looks elsewhere.
  document.addEventListener('click', (event) => {
    for (const menu of document.querySelectorAll('.menu[open]')) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    for (const menu of document.querySelectorAll('.menu[open]')) {
      menu.open = false;
      menu.querySelector('summary').focus();
    }
  });

  // Rendered by the server, with every text escaped there.
  const rendered = (html) => new DOMParser().parseFromString(html, 'text/html').body.childNodes;

  const feed = $('feed');
  if (feed) {
    const news = new EventSource('/live');
    news.addEventListener('happened', (event) => {
      const item = document.createElement('li');
      item.className = 'fresh';
      item.append(...rendered(event.data));
      feed.prepend(item);
      while (feed.children.length > Number(feed.dataset.most)) feed.lastElementChild.remove();
      $('feed-empty').hidden = true;
    });
    let last = '';
    news.addEventListener('state', (event) => {
      const state = $('state');
      // A form that somebody is using stays as it is.
      if (event.data === last || state.querySelector('.menu[open]') || state.contains(document.activeElement)) return;
      last = event.data;
      state.replaceChildren(...rendered(event.data));
    });
    news.onerror = () => {
      // Closed for good: the session is over.
      if (news.readyState === EventSource.CLOSED) location.reload();
    };
  }

  // The picture: fetched only while it is shown and the page is in front.
  const canvas = $('live-picture');
  const door = () => $('live-door')?.value ?? '';
  let watching = false;
  async function watch(who) {
    if (watching) return;
    watching = true;
    while (watching) {
      if (!document.hidden) {
        try {
          const answer = await fetch(`/live/picture?${new URLSearchParams({ door: door() })}`);
          if (!answer.ok) throw new Error(await told(answer));
          await draw(await answer.json(), who);
        } catch (error) {
          if (who) { who.hidden = false; who.textContent = error.message; }
        }
      }
      await new Promise((done) => setTimeout(done, 500));
    }
  }
  async function draw(picture, who) {
    const bytes = Uint8Array.from(atob(picture.jpeg), (c) => c.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes], { type: 'image/jpeg' }));
    if (!watching) return;
    const [width, height] = picture.size;
    canvas.hidden = false;
    canvas.width = width;
    canvas.height = height;
    const pen = canvas.getContext('2d');
    pen.drawImage(image, 0, 0);
    image.close();
    pen.font = '600 13px system-ui, sans-serif';
    pen.lineWidth = 2;
    for (const face of picture.faces) {
      const [x, y, w, h] = [face.at[0] * width, face.at[1] * height, face.at[2] * width, face.at[3] * height];
      pen.strokeStyle = face.name ? '#58c1aa' : '#f3f4f1';
      pen.strokeRect(x, y, w, h);
      const text = label(face);
      if (!text) continue;
      const wide = pen.measureText(text).width + 12;
      const top = y > 24 ? y - 22 : y + h + 2;
      pen.fillStyle = face.name ? '#0f6b5c' : 'rgba(17,19,21,.8)';
      pen.fillRect(x - 1, top, wide, 20);
      pen.fillStyle = '#fff';
      pen.fillText(text, x + 5, top + 14.5);
    }
    if (who) {
      who.hidden = false;
      const text = picture.faces.map((face) => label(face)).filter(Boolean).join(' · ') || who.dataset.nobody;
      if (who.textContent !== text) who.textContent = text;
    }
  }
  const label = (face) =>
    face.name ? `${face.name} ${face.score.toFixed(2)}` : face.hint || (face.score ? `? ${face.score.toFixed(2)}` : '');
  async function told(answer) {
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    return page.querySelector('main p')?.textContent || answer.statusText;
  }

  const show = $('live-show');
  if (show) {
    show.addEventListener('click', () => {
      $('live-ask').hidden = true;
      $('live-hide').hidden = false;
      watch($('live-who'));
    });
    $('live-hide').addEventListener('click', () => {
      watching = false;
      canvas.hidden = true;
      $('live-who').hidden = true;
      $('live-hide').hidden = true;
      $('live-ask').hidden = false;
      show.focus();
    });
  }

  // People by name or group.
  const find = $('find');
  if (find) {
    find.addEventListener('input', () => {
      const wanted = find.value.trim().toLowerCase();
      let some = false;
      for (const row of $('people').tBodies[0].rows) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
        some ||= !row.hidden;
      }
      $('find-none').hidden = some;
    });
  }

  const enrol = $('enrol');
  if (enrol) enrolment();
  function enrolment() {
    const name = $('enrol-name');
    const more = Boolean(enrol.dataset.more);
    const hint = $('enrol-hint');
    const dots = $('enrol-samples');
    const say = (text) => { hint.hidden = false; hint.textContent = text; };

    function done(person) {
      watching = false;
      canvas.hidden = true;
      const card = $('enrol-done');
      card.hidden = false;
      card.querySelector('h2').textContent = person.said;
      $('enrol-alike').hidden = person.alike.length === 0;
      $('enrol-alike').querySelector('strong').textContent = person.alike.join(', ');
      const link = card.querySelector('a');
      link.href = enrol.dataset.person + encodeURIComponent(person.name);
      link.textContent = person.name;
      link.focus();
    }

    let abort = null;
    $('enrol-begin').addEventListener('click', async () => {
      if (!name.reportValidity()) return;
      $('enrol-begin').hidden = true;
      $('enrol-stop').hidden = false;
      abort = new AbortController();
      watch(null);
      try {
        const body = new URLSearchParams({ name: name.value, more: more ? 'yes' : '', door: door() });
        const answer = await fetch('/people/enrol/live', { method: 'POST', headers: { 'x-csrf': csrf }, body, signal: abort.signal });
        if (!answer.ok) throw new Error(await told(answer));
        for await (const step of lines(answer.body)) {
          if (step.progress) progress(step.progress);
          if (step.failed) say(step.failed);
          if (step.done) { say(''); done(step.done); }
        }
      } catch (error) {
        say(abort.signal.aborted ? '' : error.message);
      }
      watching = false;
      canvas.hidden = true;
      $('enrol-begin').hidden = false;
      $('enrol-stop').hidden = true;
    });
    $('enrol-stop').addEventListener('click', () => abort && abort.abort());

    function progress({ taken, wanted, hint: text }) {
      dots.hidden = false;
      while (dots.children.length < wanted) dots.append(document.createElement('li'));
      [...dots.children].forEach((dot, n) => dot.classList.toggle('taken', n < taken));
      say(text || `${taken} / ${wanted}`);
    }

    const chosen = [];
    const list = $('enrol-pictures');
    const drop = $('enrol-drop');
    $('enrol-files').addEventListener('change', (event) => choose(event.target.files));
    drop.addEventListener('dragover', (event) => { event.preventDefault(); drop.classList.add('over'); });
    drop.addEventListener('dragleave', () => drop.classList.remove('over'));
    drop.addEventListener('drop', (event) => {
      event.preventDefault();
      drop.classList.remove('over');
      choose(event.dataTransfer.files);
    });
    function choose(files) {
      for (const file of files) {
        const item = document.createElement('li');
        const [what, said] = [document.createElement('span'), document.createElement('span')];
        what.className = 'name';
        what.textContent = file.name;
        said.className = 'said';
        item.append(what, said);
        list.append(item);
        chosen.push({ file, item, said });
      }
      $('enrol-files').value = '';
      $('enrol-send').disabled = chosen.length === 0;
    }

    $('enrol-send').addEventListener('click', async () => {
      if (!name.reportValidity()) return;
      $('enrol-send').disabled = true;
      let adding = more;
      let last = null;
      while (chosen.length > 0) {
        const { file, item, said } = chosen.shift();
        said.textContent = '…';
        try {
          const query = new URLSearchParams({ name: name.value, more: adding ? 'yes' : '' });
          const answer = await fetch(`/people/enrol/picture?${query}`, {
            method: 'POST', headers: { 'x-csrf': csrf, 'content-type': 'image/jpeg' }, body: await small(file),
          });
          if (!answer.ok) throw new Error(await told(answer));
          const step = await answer.json();
          if (step.failed) throw new Error(step.failed);
          last = step.done;
          adding = true;
          item.className = 'good';
          said.textContent = '✓';
        } catch (error) {
          item.className = 'bad';
          said.textContent = error.message;
        }
      }
      if (last) done(last);
    });

    // At most 1280 px and upright, as the service would make it; what cannot be drawn is sent as it is.
    async function small(file) {
      try {
        const image = await createImageBitmap(file, { imageOrientation: 'from-image' });
        const shrink = Math.min(1, 1280 / Math.max(image.width, image.height));
        if (shrink === 1 && file.size < 700000) return file;
        const sheet = document.createElement('canvas');
        sheet.width = Math.round(image.width * shrink);
        sheet.height = Math.round(image.height * shrink);
        sheet.getContext('2d').drawImage(image, 0, 0, sheet.width, sheet.height);
        return await new Promise((done) => sheet.toBlob(done, 'image/jpeg', 0.92));
      } catch {
        return file;
      }
    }
  }

  async function* lines(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const parts = rest.split('\n');
      rest = parts.pop();
      for (const part of parts) if (part) yield JSON.parse(part);
    }
  }
})();
