// Express with multer, as the README of each has it: a folder for what comes, and express.static for what is asked for.
import express from 'express'
import multer from 'multer'

const [folder, port] = process.argv.slice(2)
const app = express()
const upload = multer({ dest: folder })
app.post('/upload', upload.single('file'), (request, response) => {
  response.json({ path: `/files/${request.file.filename}`, size: request.file.size })
})
app.use('/files', express.static(folder))
app.listen(Number(port), '127.0.0.1')
