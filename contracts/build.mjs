// Compiles src/ with solc-js and writes the artifacts that the gateway carries; with --check it writes nothing and
// compares byte for byte. The same sources, compiler and settings give the same bytes on every machine.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

import solc from "solc";

const HERE = dirname(fileURLToPath(import.meta.url));
const ARTIFACTS = join(HERE, "..", "gateway", "chain", "artifacts");
const CONTRACTS = ["IdentityRegistry", "AnchorLog", "ModelRegistry"];
const SETTINGS = {
  // The oldest EVM whose code runs on every chain that we name: no PUSH0, no MCOPY, no transient storage.
  evmVersion: "paris",
  optimizer: { enabled: true, runs: 10000 },
  viaIR: true,
};
const require = createRequire(import.meta.url);

function sourcePath(name) {
  return name.startsWith("src/") ? join(HERE, name) : require.resolve(name);
}

function compile() {
  const texts = new Map();
  const read = (name) => {
    if (!texts.has(name)) texts.set(name, readFileSync(sourcePath(name), "utf8"));
    return texts.get(name);
  };
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(CONTRACTS.map((name) => [`src/${name}.sol`, { content: read(`src/${name}.sol`) }])),
    settings: {
      ...SETTINGS,
      outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode", "metadata"] } },
    },
  };
  const found = (name) => {
    try {
      return { contents: read(name) };
    } catch (error) {
      return { error: String(error.message) };
    }
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: found }));
  const faults = output.errors ?? [];
  for (const fault of faults) console.error(fault.formattedMessage);
  if (faults.length > 0) throw new Error("the compiler must have nothing to say, not even a warning");
  return { output, texts };
}

const sha256 = (data) => createHash("sha256").update(data).digest("hex");

function artifact(name, { output, texts }) {
  const source = `src/${name}.sol`;
  const contract = output.contracts[source][name];
  const deployed = contract.evm.deployedBytecode;
  const used = Object.keys(JSON.parse(contract.metadata).sources).sort();
  return {
    format: "securenet.contract-artifact/1",
    contract: name,
    source,
    compiler: `solc-js ${solc.version()}`,
    settings: SETTINGS,
    sources_sha256: Object.fromEntries(used.map((path) => [path, sha256(texts.get(path))])),
    // The hash is of the code as compiled, with zeros where the constructor writes the immutables.
    deployed: {
      bytes: deployed.object.length / 2,
      sha256: sha256(Buffer.from(deployed.object, "hex")),
      immutables: Object.values(deployed.immutableReferences ?? {}).flat(),
    },
    abi: contract.abi,
    bytecode: `0x${contract.evm.bytecode.object}`,
  };
}

function main(args) {
  if (args.some((arg) => arg !== "--check")) throw new Error("usage: node build.mjs [--check]");
  const check = args.includes("--check");
  const compiled = compile();
  let stale = 0;
  mkdirSync(ARTIFACTS, { recursive: true });
  for (const name of CONTRACTS) {
    const path = join(ARTIFACTS, `${name}.json`);
    const text = `${JSON.stringify(artifact(name, compiled), null, 1)}\n`;
    if (!check) {
      writeFileSync(path, text);
    } else if (readFileSync(path, "utf8") !== text) {
      console.error(`${name}.json is not what the sources compile to; run: npm run build`);
      stale += 1;
    }
  }
  if (check && stale === 0) console.log(`${CONTRACTS.length} artifacts are what the sources compile to`);
  return stale === 0 ? 0 : 1;
}

process.exitCode = main(process.argv.slice(2));
