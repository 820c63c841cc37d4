import { Command } from 'commander';

/** A command that knows what its help says beside its arguments and options, so that the manual can say it too. */
export class Verb extends Command {
  #notes = '';
  #examples: readonly string[] = [];

  constructor(name?: string) {
    super(name);
    this.helpCommand(false);
  }

  /** What is to be known beside the options; paragraphs, with an empty line between two. */
  get notes(): string {
    return this.#notes;
  }

  /** Command lines to copy. */
  get examples(): readonly string[] {
    return this.#examples;
  }

  /** Adds both to the end of the help. Each example is a command line; notes may be empty. */
  explain(notes: string, examples: readonly string[]): this {
    this.#notes = notes;
    this.#examples = examples;
    const list = ['Examples:', ...examples.map((example) => `  ${example}`)].join('\n');
    return this.addHelpText('after', `\n${notes === '' ? '' : `${notes}\n\n`}${list}`);
  }

  override createCommand(name?: string): Verb {
    return new Verb(name);
  }
}
