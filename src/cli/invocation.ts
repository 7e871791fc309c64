/** How the person at the keyboard calls us: from the repository by npm, or as an installed program. */
export function commandLine(command: string): string {
  return import.meta.url.includes('/node_modules/') ? `npx assetd ${command}` : `npm run assetd -- ${command}`
}
