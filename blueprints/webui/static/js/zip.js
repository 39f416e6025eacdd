// Files in one ZIP archive, stored as they are: pictures do not get smaller.
import { crc32 } from "./png.js";

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const UTF8 = 0x0800;

function record(...fields) {
  const size = fields.reduce((sum, [bytes]) => sum + bytes, 0);
  const view = new DataView(new ArrayBuffer(size));
  let at = 0;
  for (const [bytes, value] of fields) {
    if (bytes === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += bytes;
  }
  return new Uint8Array(view.buffer);
}

function moment(now) {
  const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
  return [time, ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate()];
}

function unique(name, taken) {
  let found = name;
  for (let number = 2; taken.has(found); number++) found = name.replace(/(\.[^.]*)?$/, `-${number}$1`);
  taken.add(found);
  return new TextEncoder().encode(found);
}

// `files`: pairs of a name and bytes.
export function zip(files, now = new Date()) {
  const [time, date] = moment(now);
  const taken = new Set();
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, bytes] of files) {
    const named = unique(name, taken);
    const common = [[2, 20], [2, UTF8], [2, 0], [2, time], [2, date], [4, crc32(bytes)], [4, bytes.length], [4, bytes.length], [2, named.length], [2, 0]];
    const head = record([4, LOCAL], ...common);
    directory.push(record([4, CENTRAL], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), named);
    parts.push(head, named, bytes);
    offset += head.length + named.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = record([4, END], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, offset], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
