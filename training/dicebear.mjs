// Writes portraits.json: DiceBear avatars (SVG) with what their options say about hair, beard and glasses.
// Run with node in a folder that has @dicebear/core@9.4.3 and @dicebear/collection@9.4.3:  node dicebear.mjs COUNT > portraits.json
import { createAvatar } from '@dicebear/core';
import { adventurer, micah, personas, bigSmile } from '@dicebear/collection';

const COUNT = Number(process.argv[2] ?? 60);
const HAIR = { black: '1a1a1a', brown: '6b4423', blonde: 'e8c25a', red: 'b5371c', gray: '9a9a9a', white: 'eeeeee', pink: 'e86fa8', blue: '3f6fd8', purple: '7b4fc0', green: '3f9a58' };
const SKINS = ['f2d3b1', 'ecad80', '9e5622', '763900', 'f8d9c0', 'd08b5b'];
const pick = (list, n) => list[n % list.length];
const words = Object.keys(HAIR);
const found = [];
for (const [name, style, source] of [['adventurer', adventurer, 'adventurer'], ['personas', personas, 'personas'], ['micah', micah, 'micah'], ['big-smile', bigSmile, 'bigsmile']]) {
  for (let i = 0; i < COUNT; i++) {
    const hair = words[(i * 7 + (i / 10 | 0)) % words.length];
    const avatar = createAvatar(style, { seed: `${name}-${i}`, hairColor: [HAIR[hair]], skinColor: [pick(SKINS, i * 5 + (i / 6 | 0))] });
    const extra = avatar.toJson().extra ?? {};
    const shape = String(extra.hair ?? '').toLowerCase();
    const female = /long|bob|bun|pony|pixie|straight|curlybob|froband|full|dannyphantom/.test(shape) ? 'woman' : /short|bald|fade|buzz|shaved|fonze|mohawk|mrclean|mrt|dougfunny|turban|cap/.test(shape) ? 'man' : 'person';
    const glasses = extra.glasses && String(extra.glasses) !== 'undefined' ? ' and glasses' : '';
    const bald = /bald|mrclean/.test(shape);
    const look = bald ? `bald ${female}${glasses ? ' with glasses' : ''}` : `${female} with ${hair} hair${glasses}`;
    found.push({ names: [look, `portrait of a ${look}`, `face of a ${look}`], tags: ['portrait', 'avatar', 'face', 'character'], weight: 0.9, source, svg: avatar.toString() });
  }
}
console.log(JSON.stringify(found));
