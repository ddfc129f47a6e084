import { describeForms } from './describe-forms.ts'

describeForms('forms by S3', async () => ({}))
